/* The protocol of dora_rt/data/ring.py, for spin: every interleaving of one writer, E readers and the
 * launcher, with one kill and restart of a reader (CRASH) or of the writer (WCRASH) at any step. The numbers
 * of the steps are those of the docstring of ring.py. Memory is sequentially consistent here; weak memory is
 * the business of the schedules (tests/protocol). tests/protocol/model.py has the runs.
 *
 *   E readers (1 or 2), S slots, N samples for each life of the writer, H: readers hold one view
 *   Q0 Q1 queue sizes, B0 B1: block, L0 L1: latest, else drop_oldest
 *
 * A sample is known by its number: slot_of[n] is the slot it was written into, ORDER only says whether its
 * place has it. Queues, claims and accounts are sets of numbers (bits). `returned` and doorbells are one bit:
 * a post says nothing but "look". What only one process can see is one step with the access before it.
 */
#ifdef CRASH
#define O 1
#define G 2
#endif
#ifdef WCRASH
#define O 2
#define G 2
#endif
#ifndef G
#define O 1
#define G 1
#endif

#define BIT(x) (1 << (x))
#define NONE 15
#define BEING_WRITTEN 14
#define TAKEN 8
#define HERE 0
#define AWAY 1
#define QUEUE(e) ((e) == 0 -> Q0 : Q1)
#define BLOCKS(e) ((e) == 0 -> B0 : B1)
#define LATEST(e) ((e) == 0 -> L0 : L1)
#define OF(o, i) ((o) * S + (i))
#define AT(g, e) ((g) * E + (e))
#define OF_N(n) (o * N + (n))   /* in a process that knows the life `o` of the writer */

/* Shared: the output segment, by life of the writer. */
byte order[O * S];      /* sample + 1 */
byte place[O * S];
byte head[O];
byte floor_[O * E]; byte floor_gen[O * E];
byte begin_[O * E]; byte begin_gen[O * E];
byte slot_of[O * N];
/* Shared: an edge, by generation. */
byte tokens[G * E];     /* slots whose token is there */
bit returned[G * E];
chan log_[G * E] = [2 * S] of { byte };
/* Shared: doorbells, and the board with its count of news. */
bit bell[E]; bit writer_bell; bit news;
byte fate[E]; byte edge_gen[E]; byte output_gen; bit writer_away;

/* What the writer knows. */
byte free_[S]; byte free_count; byte batons[S]; byte pending[E]; byte state[E]; byte gen_of[E];

/* Accounts, seen from outside. */
byte delivered[O * E]; byte passed[O * E]; byte dropped[O * E]; byte lost[O * E];
byte hands[E];          /* slots that a living reader has */
byte claimed[E];        /* samples that it has claimed, and neither delivered nor passed over */
bit alive[E]; bit asleep[E]; byte reader_pid[E]; bit killed[8]; byte writer_pid = 1; byte crashes;

#define count(x) (((x) & 1) + (((x) >> 1) & 1) + (((x) >> 2) & 1) + (((x) >> 3) & 1) + (((x) >> 4) & 1))
#define lowest(x) (((x) & 1) -> 0 : (((x) & 2) -> 1 : (((x) & 4) -> 2 : (((x) & 8) -> 3 : 4))))

/* ------------------------------------------------------------------ the writer */

inline free_baton(slot, e) {
  if
  :: batons[slot] & BIT(e) ->
     batons[slot] = batons[slot] & ~BIT(e);
     if :: batons[slot] == 0 -> assert(free_count < S); free_[free_count] = slot; free_count++ :: else fi
  :: else
  fi
}

inline read_log(e) {    /* 12 */
  do
  :: nempty(log_[AT(gen_of[e], e)]) ->
     log_[AT(gen_of[e], e)] ? entry;
     slot = entry & 7;
     if
     :: batons[slot] & BIT(e) ->
        if :: pending[e] && slot_of[OF_N(lowest(pending[e]))] == slot -> pending[e] = pending[e] & (pending[e] - 1) :: else fi;
        if :: !(entry & TAKEN) -> free_baton(slot, e) :: else fi
     :: else
     fi
  :: empty(log_[AT(gen_of[e], e)]) -> break
  od;
  entry = 0; slot = 0
}

inline collect(e) { returned[AT(gen_of[e], e)] = 0; read_log(e) }

inline bury(e) {        /* 13 and 14: nobody else touches what a dead reader had */
  read_log(e);
  i = 0;
  do
  :: i < N ->
     if
     :: (pending[e] & BIT(i)) && (place[OF(o, slot_of[OF_N(i)])] != i
                                  || (state[e] == HERE && !(tokens[AT(gen_of[e], e)] & BIT(slot_of[OF_N(i)])))) ->
        pending[e] = pending[e] & ~BIT(i)
     :: else
     fi;
     i++
  :: else -> break
  od;
  i = 0;
  do
  :: i < S ->
     k = 0; slot = 0;
     do
     :: k < N -> if :: (pending[e] & BIT(k)) && slot_of[OF_N(k)] == i -> slot = 1 :: else fi; k++
     :: else -> break
     od;
     if :: !slot -> free_baton(i, e) :: else fi;
     i++
  :: else -> break
  od;
  i = 0; k = 0; slot = 0;
  state[e] = AWAY
}

inline write_floor(e) {
  atomic {
    if
    :: state[e] == HERE ->
       floor_[AT(o, e)] = (pending[e] -> lowest(pending[e]) : head[o]);
       floor_gen[AT(o, e)] = gen_of[e]
    :: else
    fi
  }
}

inline drop(e) {        /* of 4: one look and one try at the oldest token */
  atomic {
    n = lowest(pending[e]); slot = slot_of[OF_N(n)];
    pending[e] = pending[e] & ~BIT(n);
    if
    :: state[e] == AWAY -> was_won = 1
    :: state[e] == HERE && place[OF(o, slot)] == n && (tokens[AT(gen_of[e], e)] & BIT(slot)) ->
       tokens[AT(gen_of[e], e)] = tokens[AT(gen_of[e], e)] & ~BIT(slot); was_won = 1
    :: else -> was_won = 0
    fi;
    if
    :: was_won ->
       assert(!((dropped[AT(o, e)] | delivered[AT(o, e)] | passed[AT(o, e)]) & BIT(n)));
       dropped[AT(o, e)] = dropped[AT(o, e)] | BIT(n);
       free_baton(slot, e)
    :: else
    fi;
    n = 0; slot = 0
  }
}

inline queue(e) {       /* 4 and 5 */
  atomic { pending[e] = pending[e] | BIT(head[o] - 1) };
  if
  :: atomic { !BLOCKS(e) && count(pending[e]) > QUEUE(e) -> skip };
     drop(e);
     if :: atomic { was_won -> was_won = 0 }; write_floor(e) :: atomic { else -> skip } fi
  :: atomic { else -> skip }
  fi;
  if :: atomic { state[e] == HERE -> bell[e] = 1 } :: atomic { else -> skip } fi
}

inline welcome(e) {     /* 15 and 16 */
  atomic {
    begin_[AT(o, e)] = (pending[e] -> lowest(pending[e]) : head[o]); begin_gen[AT(o, e)] = gen_of[e];
    floor_[AT(o, e)] = begin_[AT(o, e)]; floor_gen[AT(o, e)] = gen_of[e];
    posted = pending[e]
  };
  do
  :: atomic { posted ->
       slot = slot_of[OF_N(lowest(posted))]; posted = posted & (posted - 1);
       assert(!(tokens[AT(gen_of[e], e)] & BIT(slot)));
       tokens[AT(gen_of[e], e)] = tokens[AT(gen_of[e], e)] | BIT(slot); slot = 0 }
  :: atomic { !posted -> bell[e] = 1; state[e] = HERE; break }
  od
}

inline notice_one(e) {
  if
  :: atomic { fate[e] == AWAY && state[e] == HERE -> bury(e) }
  :: atomic { edge_gen[e] != gen_of[e] && fate[e] != AWAY ->
       bury(e); gen_of[e] = edge_gen[e] };
     welcome(e)
  :: atomic { edge_gen[e] == gen_of[e] && fate[e] != AWAY && state[e] == AWAY -> skip };
     welcome(e)
  :: atomic { else -> skip }
  fi
}

inline notice() {
  if
  :: atomic { news -> news = 0 };
     notice_one(0);
     if :: atomic { E > 1 -> skip }; notice_one(E - 1) :: atomic { else -> skip } fi
  :: atomic { !news -> skip }
  fi
}

inline wait_for_room(e) {
  if
  :: atomic { BLOCKS(e) && count(pending[e]) >= QUEUE(e) -> skip };
     atomic { read_log(e) }; notice();
     do
     :: atomic { count(pending[e]) >= QUEUE(e) && returned[AT(gen_of[e], e)] -> collect(e) }; notice()
     :: atomic { count(pending[e]) < QUEUE(e) -> break }
     od
  :: atomic { else -> skip }
  fi
}

#define CAN_DROP(e) (!BLOCKS(e) && pending[e])
#define HAS_RETURNED (returned[AT(gen_of[0], 0)] || returned[AT(gen_of[E - 1], E - 1)])

proctype Writer(byte o) provided (_pid == writer_pid) {
  byte mine = NONE; byte slot; byte entry; byte i; byte k; byte n; byte posted; bit was_won;
  atomic {              /* what a new writer finds */
    free_count = S;
    i = 0; do :: i < S -> free_[i] = S - 1 - i; batons[i] = 0; i++ :: else -> break od; i = 0;
    do :: i < E -> pending[i] = 0; state[i] = AWAY; gen_of[i] = o * (G - 1); i++ :: else -> break od; i = 0;
    news = 1
  };
  notice();
  do
  :: atomic { head[o] < N && free_count == 0 -> skip };
     notice();
     atomic { collect(0); if :: E > 1 -> collect(E - 1) :: else fi };
     if
     :: atomic { free_count > 0 -> skip }
     :: atomic { free_count == 0 && CAN_DROP(0) -> skip }; drop(0); write_floor(0); atomic { was_won = 0; bell[0] = 1 }
     :: atomic { free_count == 0 && !CAN_DROP(0) && CAN_DROP(E - 1) -> skip };
        drop(E - 1); write_floor(E - 1); atomic { was_won = 0; bell[E - 1] = 1 }
        /* The package says TooManyLoansError here; the plan has more slots than this model. */
     :: atomic { free_count == 0 && !CAN_DROP(0) && !CAN_DROP(E - 1) && (HAS_RETURNED || news) -> skip }
     fi
  :: atomic { head[o] < N && free_count > 0 ->          /* 1 */
       free_count--; mine = free_[free_count]; free_[free_count] = 0;
       assert(batons[mine] == 0);
       place[OF(o, mine)] = BEING_WRITTEN;
       i = 0;
       do
       :: i < E -> assert(o != 0 || !(hands[i] & BIT(mine))); assert(state[i] != HERE || !(tokens[AT(gen_of[i], i)] & BIT(mine))); i++
       :: else -> break
       od; i = 0 };
     wait_for_room(0); if :: atomic { E > 1 -> skip }; wait_for_room(E - 1) :: atomic { else -> skip } fi;
     atomic {                                           /* 2 */
       place[OF(o, mine)] = head[o]; slot_of[OF_N(head[o])] = mine; batons[mine] = BIT(E) - 1;
       order[OF(o, head[o] % S)] = head[o] + 1 };
     atomic { head[o] = head[o] + 1 };
     if                                                 /* 3 */
     :: atomic { state[0] == HERE -> tokens[AT(gen_of[0], 0)] = tokens[AT(gen_of[0], 0)] | BIT(mine) }
     :: atomic { else -> skip }
     fi;
     if
     :: atomic { E > 1 && state[E - 1] == HERE -> tokens[AT(gen_of[E - 1], E - 1)] = tokens[AT(gen_of[E - 1], E - 1)] | BIT(mine) }
     :: atomic { else -> skip }
     fi;
     atomic { mine = NONE };
     queue(0); if :: atomic { E > 1 -> skip }; queue(E - 1) :: atomic { else -> skip } fi;
     if :: atomic { returned[AT(gen_of[0], 0)] -> collect(0) } :: atomic { else -> skip } fi;
     if :: atomic { E > 1 && returned[AT(gen_of[E - 1], E - 1)] -> collect(E - 1) } :: atomic { else -> skip } fi;
     notice()
  :: atomic { head[o] == N && writer_bell -> writer_bell = 0 };   /* it is idle, in its inbox */
     notice()
  od
}

/* ------------------------------------------------------------------ a reader */

inline note(e, g, what) { log_[AT(g, e)] ! what }

inline give_back(n_) {  /* 10 and 11 */
  atomic { note(e, g, slot_of[OF_N(n_)]); hands[e] = hands[e] & ~BIT(slot_of[OF_N(n_)]) };
  atomic { returned[AT(g, e)] = 1 }
}

inline pass_over(n_) {
  atomic {
    assert(!((dropped[AT(o, e)] | delivered[AT(o, e)]) & BIT(n_)));
    passed[AT(o, e)] = passed[AT(o, e)] | BIT(n_); claimed[e] = claimed[e] & ~BIT(n_)
  };
  give_back(n_)
}

/* One look at FLOOR; `moved` tells whether it says that the next one was dropped. */
inline skip_dropped() {
  moved = (floor_gen[AT(o, e)] == g && floor_[AT(o, e)] > next);
  if
  :: moved -> next = ((early & (BIT(floor_[AT(o, e)]) - 1)) -> lowest(early & (BIT(floor_[AT(o, e)]) - 1)) : floor_[AT(o, e)])
  :: else
  fi
}

inline win(n_) {        /* 7 and 8: what is in a slot that was won stays */
  tokens[AT(g, e)] = tokens[AT(g, e)] & ~BIT(slot_of[OF_N(n_)]);
  got = place[OF(o, slot_of[OF_N(n_)])];
  assert(got != BEING_WRITTEN && got >= n_ && got <= head[o]);
  hands[e] = hands[e] | BIT(slot_of[OF_N(n_)]); claimed[e] = claimed[e] | BIT(got)
}
#define IS_THERE(n_) (tokens[AT(g, e)] & BIT(slot_of[OF_N(n_)]))

proctype Reader(byte e; byte o; byte g) provided (!killed[_pid]) {
  byte next; byte early; byte got = NONE; byte have = NONE; byte held = NONE; byte last; byte saved; bit is_final; bit moved;
  atomic { reader_pid[e] = _pid; next = (g == 0 -> 0 : NONE) };
look:
#ifdef H
  if
  :: atomic { held != NONE -> assert(hands[e] & BIT(slot_of[OF_N(held)])) }; give_back(held); atomic { held = NONE }
  :: atomic { true -> skip }
  fi;
#endif
take:
  if
  :: atomic { next == NONE ->
       if
       :: begin_gen[AT(o, e)] == g && g > 0 -> next = begin_[AT(o, e)]; goto take
       :: else -> goto nothing
       fi }
  :: atomic { next != NONE && (early & BIT(next)) ->
       got = next; early = early & ~BIT(next); next++;
       if
       :: floor_gen[AT(o, e)] == g && floor_[AT(o, e)] > got -> goto too_old
       :: else -> goto arrived
       fi }
  :: atomic { next != NONE && !(early & BIT(next)) ->           /* 6 */
       if
       :: next < N && order[OF(o, next % S)] == next + 1 -> skip
       :: else -> goto not_there
       fi }
  fi;
  atomic { skip_dropped(); if :: moved -> moved = 0; goto take :: else fi };
  if
  :: atomic { IS_THERE(next) -> win(next);                      /* 7 and 8 */
       if
       :: got == next -> next++; goto arrived
       :: else -> early = early | BIT(got); got = NONE; next++; goto take
       fi }
  :: atomic { !IS_THERE(next) -> skip }
  fi;
  atomic { skip_dropped(); if :: moved -> moved = 0; goto take :: else fi;
    if :: is_final -> next++; goto take :: else fi };
  atomic {                                                      /* 9 */
    if
    :: next + 1 < N && order[OF(o, (next + 1) % S)] == next + 2 -> skip
    :: else -> goto nothing
    fi };
  if
  :: atomic { IS_THERE(next + 1) -> win(next + 1); early = early | BIT(got); got = NONE }
  :: atomic { !IS_THERE(next + 1) -> goto nothing }
  fi;
  if
  :: atomic { IS_THERE(next) -> win(next); early = early | BIT(got); got = NONE; goto nothing }
  :: atomic { !IS_THERE(next) -> next++; goto take }
  fi;

not_there:
  atomic { skip_dropped(); if :: moved -> moved = 0; goto take :: else fi;
    if :: is_final && early -> next = lowest(early); goto take :: else -> goto nothing fi };

too_old:
  pass_over(got); atomic { got = NONE; goto take };

arrived:
  if
  :: atomic { have != NONE -> skip }; pass_over(have)
  :: atomic { have == NONE -> skip }
  fi;
  atomic { have = got; got = NONE; saved = next;
    if :: LATEST(e) && head[o] != next -> goto take :: else -> goto deliver fi };

nothing:
  atomic {
    if :: have != NONE -> next = saved; goto deliver :: else fi;
    if
    :: is_final -> assert(!early);
       if
       :: output_gen > o -> o++; g++; next = NONE; is_final = 0; last = 0; held = NONE; hands[e] = 0; goto take
       :: else -> goto over
       fi
    :: !is_final && output_gen > o -> is_final = 1; goto take
    :: else -> asleep[e] = 1
    fi };
  atomic { bell[e] -> bell[e] = 0; asleep[e] = 0; goto look };

deliver:
  atomic {
    saved = 0;
    assert(hands[e] & BIT(slot_of[OF_N(have)])); assert(place[OF(o, slot_of[OF_N(have)])] == have);
    assert(have >= last); last = have + 1;
    assert(!((delivered[AT(o, e)] | dropped[AT(o, e)] | passed[AT(o, e)] | lost[AT(o, e)]) & BIT(have)));
    delivered[AT(o, e)] = delivered[AT(o, e)] | BIT(have); claimed[e] = claimed[e] & ~BIT(have)
  };
#ifdef H
  if
  :: atomic { held == NONE && BLOCKS(e) -> held = have; have = NONE; note(e, g, TAKEN | slot_of[OF_N(held)]) };
     atomic { returned[AT(g, e)] = 1; goto look }
  :: atomic { held == NONE && !BLOCKS(e) -> held = have; have = NONE; goto look }
  :: atomic { true -> skip }
  fi;
#endif
  give_back(have);
  atomic { have = NONE; goto look };
over:
  skip
}

/* ------------------------------------------------------------------ the launcher */

proctype Launcher() {
  byte e;
#ifdef CRASH
  do
  :: crashes == 0 ->
     if :: e = 0 :: E > 1 -> e = E - 1 fi;
     atomic { reader_pid[e] > 0 ->
       killed[reader_pid[e]] = 1; crashes++; alive[e] = 0; asleep[e] = 0;
       lost[AT(0, e)] = lost[AT(0, e)] | claimed[e]; claimed[e] = 0; hands[e] = 0 };
     atomic { fate[e] = AWAY };
     atomic { news = 1; writer_bell = 1; returned[AT(0, 0)] = 1; returned[AT(0, E - 1)] = 1 };
     atomic { fate[e] = HERE; edge_gen[e] = 1 };
     atomic { news = 1; writer_bell = 1; returned[AT(0, 0)] = 1; returned[AT(0, E - 1)] = 1; returned[AT(1, e)] = 1 };
     atomic { alive[e] = 1; bell[e] = 1; reader_pid[e] = 0; run Reader(e, 0, 1) };
     break
  :: crashes == 0 -> break
  od;
#endif
#ifdef WCRASH
  do
  :: crashes == 0 -> atomic { writer_pid = 0; crashes++ };
     atomic { writer_away = 1 }; atomic { bell[0] = 1; bell[E - 1] = 1 };
     atomic { output_gen = 1; edge_gen[0] = 1; edge_gen[E - 1] = 1; writer_away = 0 };
     atomic { bell[0] = 1; bell[E - 1] = 1 };
     atomic { writer_pid = run Writer(1) };
     break
  :: crashes == 0 -> break
  od;
#endif
  skip
}

proctype Monitor() {
  byte e; byte s; byte all; byte o;
end:
  timeout;
  atomic {
    o = output_gen;
    assert(head[o] == N);       /* the writer came to its end */
    e = 0;
    do
    :: e < E ->
       assert(state[e] == HERE && gen_of[e] == edge_gen[e]);
       assert(asleep[e] && tokens[AT(gen_of[e], e)] == 0);      /* nobody sleeps while something waits */
       all = delivered[AT(o, e)] | dropped[AT(o, e)] | passed[AT(o, e)] | lost[AT(o, e)];
       assert(all == BIT(N) - 1);                               /* published = delivered + dropped + dead hands */
       assert(claimed[e] == 0);
       assert(!BLOCKS(e) || (dropped[AT(o, e)] == 0 && passed[AT(o, e)] == 0));
#ifdef WCRASH
       /* What the dead writer has published and this reader could have; one at most is in neither. */
       all = delivered[AT(0, e)] | dropped[AT(0, e)] | passed[AT(0, e)];
       assert(count(all) + 1 >= head[0]);
       assert(!BLOCKS(e) || (dropped[AT(0, e)] == 0 && passed[AT(0, e)] == 0));
#endif
       e++
    :: else -> break
    od;
    /* Every slot is free, or in the hands of a living reader. */
    e = 0;
    do
    :: e < S ->
       all = 0; s = 0;
       do :: s < free_count -> if :: free_[s] == e -> all++ :: else fi; s++ :: else -> break od;
       assert(all <= 1);
       s = 0;
       do
       :: s < E ->
          if
          :: (batons[e] & BIT(s)) && !(hands[s] & BIT(e)) ->
             /* Its entry is in the log, for the next send. */
             assert(log_[AT(gen_of[s], s)] ?? [eval(e)])
          :: else
          fi;
          s++
       :: else -> break
       od;
       assert(all == 1 || batons[e]);
       e++
    :: else -> break
    od
  }
}

init {
  byte i;
  atomic {
    do :: i < E -> alive[i] = 1; i++ :: else -> break od; i = 0;
    do :: i < O * S -> place[i] = NONE; i++ :: else -> break od; i = 0;
    run Writer(0);
    do :: i < E -> run Reader(i, 0, 0); i++ :: else -> break od;
    run Launcher(); run Monitor()
  }
}
