"""Assign rows to columns at the least cost: the problem that the Hungarian method solves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Costs = NDArray[np.float64]

# Above any cost, so that as many pairs as possible are allowed ones.
_FORBIDDEN = 1e6


def assign(costs: Costs, most: float) -> list[tuple[int, int]]:
    """Return the pairs of row and column with the least sum of costs, none above `most`.

    As many pairs as possible are found that cost at most `most` each, and of all ways to do so the
    cheapest one. It is exact: shortest augmenting paths with potentials, as Jonker and Volgenant
    (1987) do it, in the cube of the shorter side.

    Args:
        costs: rows x columns, not negative.
        most: what a pair may cost.
    """
    if not costs.size:
        return []
    if costs.shape[0] > costs.shape[1]:
        return sorted((row, column) for column, row in assign(costs.T, most))
    bounded = np.where(costs <= most, costs, _FORBIDDEN)
    column_of = _shortest_paths(bounded)
    return [(row, column) for row, column in enumerate(column_of) if costs[row, column] <= most]


def _shortest_paths(costs: Costs) -> list[int]:
    """Return the column of each row; there are at least as many columns as rows."""
    rows, columns = costs.shape
    row_potential = np.zeros(rows)
    column_potential = np.zeros(columns)
    row_of = np.full(columns, -1)
    column_of = np.full(rows, -1)
    for begin in range(rows):
        distance = np.full(columns, np.inf)
        before = np.full(columns, -1)
        is_done = np.zeros(columns, bool)
        done_rows, row, reached = [], begin, 0.0
        while True:
            done_rows.append(row)
            through = reached + costs[row] - row_potential[row] - column_potential
            is_nearer = ~is_done & (through < distance)
            distance[is_nearer] = through[is_nearer]
            before[is_nearer] = row
            nearest = int(np.argmin(np.where(is_done, np.inf, distance)))
            reached = float(distance[nearest])
            is_done[nearest] = True
            if row_of[nearest] < 0:
                break
            row = int(row_of[nearest])
        for passed in done_rows:
            at = begin if passed == begin else column_of[passed]
            row_potential[passed] += reached - (0.0 if passed == begin else distance[at])
        column_potential[is_done] -= reached - distance[is_done]
        column = nearest
        while True:
            row = int(before[column])
            row_of[column] = row
            column, column_of[row] = int(column_of[row]), column
            if row == begin:
                break
    return [int(column) for column in column_of]
