/* The baton ring: one writer, one or two readers, and the launcher; steps as numbered in dora_rt/transport/ring/protocol.py.
 *
 * `python -m tests.protocol.model` checks it. Each atomic block is one step: it has at most one access to shared
 * memory that another process can tell from its neighbours. docs/design.md says what was put together, and why.
 * Samples are numbers below N, so sets of them are bits of one byte; so are sets of slots and of edges.
 *
 *   E readers, S slots, N samples (M of a writer that was started again), P0 P1 policies, Q0 Q1 queue sizes
 *   HOLD           readers may hold one view while they take the next sample
 *   VICTIM=e       reader e is killed once, at any step, and is started again
 *   CLOSES         or it closes its input for now, and may be killed while it does so
 *   WRITER_DIES    the writer is killed once, at any step, and is started again
 *   F01 F04 F10 F12 GAP  plant that fault; AGES: check that no fresh sample is claimed for one dropped before (F12)
 */
#ifndef DROP
#define DROP 0
#define BLOCK 1
#define LATEST 2
#endif
#ifndef P1
#define P1 P0
#define Q1 Q0
#endif
#ifndef M
#define M 1
#endif
#if defined(VICTIM) || defined(WRITER_DIES)
#define G 2 /* generations of an edge */
#else
#define G 1
#endif
#ifdef WRITER_DIES
#define O 2 /* generations of the output */
#else
#define O 1
#endif

#define NONE 15
#define TAKEN 4 /* of a log entry; slots are below */
#define BIT(n) (1 << (n))
#define HAS(set, n) (((set) >> (n)) & 1)
#define LOWEST(x) (HAS(x,0) -> 0 : (HAS(x,1) -> 1 : (HAS(x,2) -> 2 : (HAS(x,3) -> 3 : (HAS(x,4) -> 4 : (HAS(x,5) -> 5 : NONE))))))
#define COUNT(x) (HAS(x,0) + HAS(x,1) + HAS(x,2) + HAS(x,3) + HAS(x,4) + HAS(x,5))
#define POLICY(e) ((e) == 0 -> P0 : P1)
#define QUEUE(e) ((e) == 0 -> Q0 : Q1)
#define SAMPLES(o) ((o) == 0 -> N : M)

/* Shared, written by the writer. ORDER has the newest S samples, and the writer's own list has no others. */
byte head[O];
byte ordered[O];          /* samples of which ORDER has told; HEAD follows */
byte slot_of[O*N];        /* ORDER without its remainder of a division; the writer's `pending` has it as well */
byte place[O*S];          /* PLACE and the writer's `_seqs`; NONE: the slot is free */
byte floor_of[O*E];
byte floor_gen[O*E];
byte begin[O*E];
byte begin_gen[O*E];
byte tokens[E*G];         /* slots whose token is posted */
/* Shared, written by the readers */
chan log[E*G] = [2*S] of { byte };  /* what the writer has not read of it */
bool returned[E*G];       /* semaphores that only wake: whether there is a post */
bool bell[E];
bool writer_bell;
/* Shared, written by the launcher */
byte reader_word;         /* of the victim: 0 alive, 1 away, 2 alive in generation 1 */
byte news;
bool has_new_writer;      /* the word about the writer names generation 1 */
bool closed_for_now;      /* READER_CLOSED of the victim; its reader writes that */

/* The writer's own; what the checks at the end look at is global, too. */
byte free_slots[S]; byte nfree;
byte batons[S];           /* edges, by slot */
byte pending[E];          /* samples */
bool away[E];
byte posted_below[E];
byte gen[E];              /* of the edges that it is connected to */
byte o;
byte known_word; byte heard; bool knows_closed; bool has_news;

/* For the checks alone */
byte accounted[O*E];      /* samples that were dropped or claimed: each once */
byte in_hand[E];          /* samples that the reader has claimed and not given back; of generation `out` */
byte out[E];
bool has_died; bool is_reborn; bool has_ended[E];
#define MAY_DIE (!has_died)
#ifdef VICTIM
#define VICTIM_IS(e) ((e) == VICTIM)
#else
#define VICTIM_IS(e) false
#endif

hidden byte i; hidden byte k; hidden byte m; hidden byte s; hidden byte won; hidden byte waiting;

#define EG(e) ((e)*G + gen[e])
#define OE(e) (o*E + (e))
#define SLOT(n) slot_of[o*N + (n)]
#define PLACE(s) place[o*S + (s)]

inline take_free() {
  nfree--; slot = free_slots[nfree]; free_slots[nfree] = 0;
  assert(batons[slot] == 0);
  check_slot()
}

/* 1: nobody may look at a slot that is written, or come to. */
inline check_slot() {
  k = 0;
  do :: k < E ->
        /* A dead reader's tokens are nobody's, until the writer leaves that generation. */
        assert(!HAS(tokens[EG(k)], slot) || (VICTIM_IS(k) && reader_word > 0 && gen[k] == 0));
        if :: out[k] == o ->
              m = 0; do :: m < N -> assert(!HAS(in_hand[k], m) || SLOT(m) != slot); m++ :: else -> break od
           :: else fi;
        k++
     :: else -> break od;
  k = 0; m = 0
}

inline free_baton(slot_, e) {
  batons[slot_] = batons[slot_] & ~BIT(e);
  if :: batons[slot_] == 0 ->
        assert(nfree < S);
        free_slots[nfree] = slot_; nfree++; PLACE(slot_) = NONE
     :: else fi
}

/* 12 and 13: all entries that are there */
inline read_log(e) {
  do :: len(log[EG(e)]) > 0 ->
        log[EG(e)] ? k;
        s = k % TAKEN;
        if :: HAS(batons[s], e) ->
              m = LOWEST(pending[e]);
              if :: m != NONE && SLOT(m) == s -> pending[e] = pending[e] & ~BIT(m) :: else fi;
              if :: k < TAKEN -> free_baton(s, e) :: else fi
           :: else fi
     :: else -> break od;
  k = 0; s = 0; m = 0
}

inline collect(e) {
  returned[EG(e)] = false;
  read_log(e);
  if :: VICTIM_IS(e) && knows_closed != closed_for_now && gen[e] == 0 -> has_news = true :: else fi
}

/* 4: the oldest that waits, if the reader has not taken it */
inline drop_one(e) {
  m = LOWEST(pending[e]); s = SLOT(m); won = false;
  if :: away[e] && m >= posted_below[e] -> won = true
     :: else ->
        if :: PLACE(s) == m && HAS(tokens[EG(e)], s) -> tokens[EG(e)] = tokens[EG(e)] & ~BIT(s); won = true
           :: else fi
  fi;
  pending[e] = pending[e] & ~BIT(m);
  if :: won ->
        assert(POLICY(e) != BLOCK);
        assert(!HAS(accounted[OE(e)], m));
        accounted[OE(e)] = accounted[OE(e)] | BIT(m);
        free_baton(s, e);
        to_floor = to_floor | BIT(e)
     :: else fi;
  m = 0; s = 0; won = false
}
inline trim(e) {
  pending[e] = pending[e] | BIT(head[o]-1);
  if :: POLICY(e) != BLOCK && COUNT(pending[e]) > QUEUE(e) -> drop_one(e) :: else fi
}
inline write_floor(e) {
  if :: HAS(to_floor, e) && !away[e] ->
        floor_of[OE(e)] = (pending[e] -> LOWEST(pending[e]) : head[o]); floor_gen[OE(e)] = gen[e]
     :: else fi;
  to_floor = to_floor & ~BIT(e)
}
inline post(e) {
  if :: !away[e] -> assert(!HAS(tokens[EG(e)], slot)); tokens[EG(e)] = tokens[EG(e)] | BIT(slot) :: else fi
}
inline ring(e) { if :: !away[e] -> bell[e] = true :: else fi }

inline keep_queue_for_restart(e) { if :: !away[e] -> posted_below[e] = head[o]; away[e] = true :: else fi }

/* 13 and 14: its reader is dead, so nobody else touches what is looked at here. */
inline bury(e) {
  keep_queue_for_restart(e);
#ifndef F04
  read_log(e);
#endif
  waiting = 0; i = 0;
  do :: i < N ->
        if :: HAS(pending[e], i) ->
              s = SLOT(i);
              if :: PLACE(s) == i && (i >= posted_below[e] || HAS(tokens[EG(e)], s)) -> waiting = waiting | BIT(s)
                 :: else -> pending[e] = pending[e] & ~BIT(i) fi
           :: else fi;
        i++
     :: else -> break od;
  posted_below[e] = 0; i = 0;
  do :: i < S -> if :: HAS(batons[i], e) && !HAS(waiting, i) -> free_baton(i, e) :: else fi; i++ :: else -> break od;
  i = 0; s = 0; waiting = 0
}

/* 15 */
inline write_begin(e) {
  begin[OE(e)] = (pending[e] -> LOWEST(pending[e]) : head[o]); begin_gen[OE(e)] = gen[e];
  floor_of[OE(e)] = begin[OE(e)]; floor_gen[OE(e)] = gen[e];
  to_post = pending[e]
}

#ifdef VICTIM
inline notice_readers() {
  atomic {
    heard = news; has_news = false;
    /* The words of one dead reader do not change any more after the last one: with it comes 15. */
    if :: known_word != reader_word || (gen[VICTIM] == 0 && knows_closed != closed_for_now) ->
          if :: reader_word > 0 -> bury(VICTIM) :: else -> keep_queue_for_restart(VICTIM) fi;
          knows_closed = closed_for_now;
          if :: reader_word == 2 -> knows_closed = false; tokens[EG(VICTIM)] = 0; returned[EG(VICTIM)] = false; gen[VICTIM] = 1; write_begin(VICTIM); to_welcome = true :: else fi;
          known_word = reader_word
       :: else fi
  };
  do :: atomic { to_welcome && to_post ->  /* 16 */
           m = LOWEST(to_post); to_post = to_post & ~BIT(m);
           assert(!HAS(tokens[EG(VICTIM)], SLOT(m)));
           tokens[EG(VICTIM)] = tokens[EG(VICTIM)] | BIT(SLOT(m)); m = 0 }
     :: atomic { to_welcome && !to_post -> away[VICTIM] = false; bell[VICTIM] = true; to_welcome = false }
     :: atomic { !to_welcome -> break }
  od
}
#define NEWS (heard != news)
#else
#define notice_readers() skip
#define NEWS false
#endif

#ifdef WRITER_DIES
#define OR_WRITER_DIES :: atomic { MAY_DIE -> has_died = true; has_new_writer = true; goto dead }
#else
#define OR_WRITER_DIES
#endif

#define CAN_DROP(e) (POLICY(e) != BLOCK && pending[e])
#define IS_FULL(e) (POLICY(e) == BLOCK && COUNT(pending[e]) >= QUEUE(e))

/* A post that was taken without an entry being read does not matter: whoever looks reads all entries. */
inline wait_for_room(e) {
  atomic { read_log(e) };
  notice_readers();
  do :: atomic { IS_FULL(e) && returned[EG(e)] -> returned[EG(e)] = false };
        atomic { read_log(e) };
        notice_readers()
     OR_WRITER_DIES
     :: atomic { !IS_FULL(e) -> break }
  od
}

proctype Writer() {
  byte slot; byte to_floor; byte to_post; bool to_welcome;
send:
  do
  :: atomic { head[o] == SAMPLES(o) -> slot = 0; break }
  OR_WRITER_DIES
  :: atomic { head[o] < SAMPLES(o) && nfree == 0 -> skip };
     /* make_room: where the package raises, since it has slots for all that is waited for here, this waits */
     notice_readers();
     atomic { collect(0); if :: E > 1 -> collect(E-1) :: else fi };
     if :: atomic { nfree > 0 -> skip }
        OR_WRITER_DIES
        :: atomic { nfree == 0 && CAN_DROP(0) -> drop_one(0); to_floor = 1 };
           atomic { write_floor(0) };
           atomic { bell[0] = true }
        :: atomic { nfree == 0 && !CAN_DROP(0) && E > 1 && CAN_DROP(E-1) -> drop_one(E-1); to_floor = 2 };
           atomic { write_floor(E-1) };
           atomic { bell[E-1] = true }
        :: atomic { nfree == 0 && !CAN_DROP(0) && !CAN_DROP(E-1) && (returned[EG(0)] || returned[EG(E-1)] || NEWS) -> skip }
     fi
  :: atomic { head[o] < SAMPLES(o) && nfree > 0 -> take_free();
        if :: !IS_FULL(0) && !(E > 1 && IS_FULL(E-1)) -> goto write_order :: else fi };
#if P0 == BLOCK
     wait_for_room(0);
#endif
#if E > 1 && P1 == BLOCK
     wait_for_room(1);
#endif
     if :: atomic { true ->
write_order: /* 2; nobody looks at PLACE before it has a token */
        check_slot();
        SLOT(head[o]) = slot; PLACE(slot) = head[o]; batons[slot] = BIT(E) - 1;
        ordered[o] = head[o] + 1 }
     OR_WRITER_DIES fi;
     if :: atomic { true -> head[o] = ordered[o] } OR_WRITER_DIES fi;
#ifdef WRITER_DIES
     if :: atomic { true -> post(0) } OR_WRITER_DIES fi;  /* 3 */
     if :: atomic { E > 1 -> post(E-1) } :: atomic { E == 1 -> skip } OR_WRITER_DIES fi;
     if :: atomic { true -> trim(0) } OR_WRITER_DIES fi;  /* 4 */
     if :: atomic { true -> write_floor(0) } OR_WRITER_DIES fi;
     if :: atomic { true -> ring(0) } OR_WRITER_DIES fi;  /* 5 */
     if :: atomic { E > 1 -> trim(E-1) }; 
           if :: atomic { true -> write_floor(E-1) } OR_WRITER_DIES fi;
           if :: atomic { true -> ring(E-1) } OR_WRITER_DIES fi
        :: atomic { E == 1 -> skip } OR_WRITER_DIES fi;
#else
     /* What concerns one reader and what concerns the other do not meet: they go in step. */
     atomic { post(0); if :: E > 1 -> post(E-1) :: else fi };  /* 3 */
     atomic { trim(0); if :: E > 1 -> trim(E-1) :: else fi };  /* 4 */
     atomic { write_floor(0); if :: E > 1 -> write_floor(E-1) :: else fi };
     atomic { ring(0); if :: E > 1 -> ring(E-1) :: else fi };  /* 5 */
#endif
     /* look_ahead */
     atomic {
        slot = 0;
        if :: returned[EG(0)] -> collect(0) :: else fi;
        if :: E > 1 -> if :: returned[EG(E-1)] -> collect(E-1) :: else fi :: else fi };
#ifdef VICTIM
     if :: atomic { has_news || NEWS -> skip }; notice_readers() :: atomic { !has_news && !NEWS -> skip } fi
#endif
  od;
end_idle:
  do
#ifdef F01
  :: atomic { false -> skip }
#else
  :: atomic { NEWS -> skip }; notice_readers()
  :: atomic { !NEWS && writer_bell -> writer_bell = false }
#endif
  OR_WRITER_DIES
  od;
#ifdef WRITER_DIES
dead:
  atomic { /* The launcher has said so; the rings follow. */
    bell[0] = true; bell[E-1] = true; slot = 0; to_floor = 0; to_post = 0; nfree = S;
    i = 0; do :: i < S -> batons[i] = 0; free_slots[i] = S-1-i; i++ :: else -> break od; i = 0;
    i = 0; do :: i < E -> pending[i] = 0; away[i] = true; gen[i] = 1; i++ :: else -> break od; i = 0;
    o = 1 };
  atomic { write_begin(0); away[0] = false };
  atomic { bell[0] = true };
  if :: atomic { E > 1 -> write_begin(E-1); away[E-1] = false }; atomic { bell[E-1] = true } :: atomic { E == 1 -> skip } fi;
  goto send
#endif
}

#define READER_O out[e]
#define R_EG ((e)*G + g)
#define R_OE (READER_O*E + (e))
#define R_SLOT(n) slot_of[READER_O*N + (n)]
#define ORDER_SAYS(n) ((n) < ordered[READER_O] && (n) + S >= ordered[READER_O])
#define IS_DROPPED(n) (floor_gen[R_OE] == g && (n) < floor_of[R_OE])

#ifdef VICTIM
#define OR_READER_DIES :: atomic { e == VICTIM && MAY_DIE -> has_died = true; goto dead }
#else
#define OR_READER_DIES
#endif

#ifdef VICTIM /* in one life, `next` only grows: there the order holds */
byte last_delivered;
#define NOTE_DELIVERED if :: e == VICTIM && g == 0 -> last_delivered = have+1 :: else fi
#define CHECK_BEGIN if :: e == VICTIM -> assert(begin[R_OE] >= last_delivered); last_delivered = 0 :: else fi
#else
#define NOTE_DELIVERED skip
#define CHECK_BEGIN skip
#endif
#ifdef AGES /* what fresh samples are claimed under the number of an older one was dropped after the take began */
byte floor_before;
#define NOTE_FLOOR floor_before = (floor_gen[R_OE] == g -> floor_of[R_OE] : 0)
#define CHECK_FLOOR assert(next >= floor_before || seen == next+1)
#else
#define NOTE_FLOOR skip
#define CHECK_FLOOR skip
#endif

/* 7 and 8: who wins the token of a slot finds in PLACE what it carries. */
inline claim(n) {
  s = R_SLOT(n);
  if :: HAS(tokens[R_EG], s) ->
        tokens[R_EG] = tokens[R_EG] & ~BIT(s);
        m = place[READER_O*S + s];
        assert(m != NONE && m >= n && m < head[READER_O]);
        /* It is among the newest, one more being published; a dead reader's claims may lie between. */
        assert(m + QUEUE(e) + 1 >= head[READER_O] || (VICTIM_IS(e) && g == 1 && HAS(pending[e], m)));
        assert(!HAS(accounted[R_OE], m));
        accounted[R_OE] = accounted[R_OE] | BIT(m);
        in_hand[e] = in_hand[e] | BIT(m)
     :: else -> m = NONE
  fi;
  s = 0
}
inline skip_dropped() {
  i = LOWEST(early); next = (i < floor_of[R_OE] -> i : floor_of[R_OE]); i = 0
}

inline deliver() { seen = 0; NOTE_DELIVERED }
/* The sample in `leave` was taken; one that `have` has is left for it. */
inline arrive() {
  if :: have == NONE ->
        have = leave; leave = NONE;
        if :: POLICY(e) == LATEST -> goto newest :: else -> deliver(); goto hand_over fi
     :: else -> leave = have; have = next-1; goto leaving
  fi
}

/* 10 and 11 */
inline give_back(n) {
  if :: atomic { true -> assert(nfull(log[R_EG]));
           assert(place[READER_O*S + R_SLOT(n)] == n);  /* what the view shows is what it showed */
           log[R_EG] ! R_SLOT(n); in_hand[e] = in_hand[e] & ~BIT(n); n = NONE }
     OR_READER_DIES fi;
  if :: atomic { true -> returned[R_EG] = true } OR_READER_DIES fi
}

proctype Reader(byte e) {
  byte g; byte next; byte early; byte seen; byte have = NONE; byte held = NONE; byte leave = NONE; bool is_final;
top: /* Subscriber.take */
  if
  :: atomic { true -> seen = head[READER_O];
        NOTE_FLOOR;
        if :: seen == next && !is_final -> seen = 0; goto nothing :: else fi }
#ifdef HOLD
  :: atomic { held != NONE -> skip }; give_back(held); goto top
#endif
#ifdef CLOSES
  :: atomic { e == VICTIM && MAY_DIE -> skip }; goto close
#endif
  OR_READER_DIES
  fi;
again: /* 6 */
  if :: atomic { true ->
        if :: next == NONE ->
              if :: begin_gen[R_OE] == g -> next = begin[R_OE]; CHECK_BEGIN; goto again :: else -> goto nothing fi
           :: else fi;
        if :: HAS(early, next) ->
              early = early & ~BIT(next); leave = next; next++;
#ifndef F12
              if :: IS_DROPPED(next-1) -> goto leaving :: else fi;
#endif
              arrive()
           :: else fi;
        if :: next < N && ORDER_SAYS(next) ->
#ifndef F12
              if :: seen != next+1 && IS_DROPPED(next) -> skip_dropped(); goto again :: else fi;
#endif
              goto try
           :: else -> /* not written yet, or written over */
              if :: IS_DROPPED(next) -> skip_dropped(); goto again :: else fi;
              if :: is_final && early -> next = LOWEST(early); goto again :: else -> goto nothing fi
           fi
        }
     OR_READER_DIES
  fi;
try: /* 7 */
  atomic {
    claim(next);
    if :: m == next -> m = 0; leave = next; next++; arrive()
       :: m != next && m != NONE -> CHECK_FLOOR; early = early | BIT(m); m = 0; next++; goto again
       :: m == NONE -> m = 0 fi };
  atomic { /* 9 */
    if :: IS_DROPPED(next) -> skip_dropped(); goto again :: else fi;
    if :: is_final -> next++; goto again :: else fi };
#ifdef F10
  goto nothing;
#endif
  atomic {
#ifndef GAP
    if :: early -> goto look_again :: else fi;  /* what is kept was posted later */
#endif
    if :: next+1 < N && ORDER_SAYS(next+1) -> skip :: else -> goto nothing fi };
  atomic { claim(next+1);
    if :: m != NONE -> early = early | BIT(m); m = 0 :: else -> m = 0; goto nothing fi };
look_again:
  if :: atomic { true -> claim(next);
           if :: m != NONE -> early = early | BIT(m); m = 0; goto nothing :: else -> m = 0; next++; goto again fi }
     OR_READER_DIES fi;
leaving:
  give_back(leave);
  atomic { if :: have != NONE && have+1 == next -> skip :: else -> goto again fi };
newest: /* take_newest */
  if :: atomic { true -> seen = head[READER_O]; if :: seen != next -> goto again :: else -> deliver(); goto hand_over fi }
     OR_READER_DIES fi;
hand_over:
#ifdef HOLD
  if :: atomic { held == NONE -> held = have; have = NONE };
        if :: atomic { POLICY(e) == BLOCK -> assert(nfull(log[R_EG])); log[R_EG] ! (TAKEN + R_SLOT(held)) };
              if :: atomic { true -> returned[R_EG] = true } OR_READER_DIES fi
           :: atomic { POLICY(e) != BLOCK -> skip }
           OR_READER_DIES fi
     :: atomic { true -> skip }; give_back(have)
  fi;
#else
  give_back(have);
#endif
  goto top;
nothing:
  atomic { seen = 0; if :: have != NONE -> next = have+1; deliver(); goto hand_over :: else fi };
#ifdef WRITER_DIES
  atomic { if :: is_final -> goto ended :: else fi;
    if :: has_new_writer && READER_O == 0 -> is_final = true; goto top :: else fi };
#endif
#ifdef HOLD
  if :: atomic { held != NONE -> skip }; give_back(held) :: atomic { held == NONE -> skip } fi;
#endif
end_asleep:
  if :: atomic { bell[e] -> bell[e] = false; goto top } /* silence takes all rings */
     OR_READER_DIES fi;
#ifdef WRITER_DIES
ended:
  atomic { assert(!early && have == NONE && leave == NONE);
    has_ended[e] = true; is_final = false; g = 1; next = NONE; held = NONE; in_hand[e] = 0; READER_O = 1 };
  goto top;
#endif
#ifdef CLOSES
close: /* for now: claims go back, and it takes nothing more; what it holds and what waits stays until it is reaped */
  do :: atomic { early -> leave = LOWEST(early); early = early & ~BIT(leave) }; give_back(leave)
     :: atomic { !early -> break } OR_READER_DIES od;
  if :: atomic { true -> closed_for_now = true } OR_READER_DIES fi;
  if :: atomic { true -> returned[R_EG] = true } OR_READER_DIES fi;
  atomic { has_died = true };
#endif
#ifdef VICTIM
dead: /* reaped, which the launcher says first of all */
  atomic { reader_word = 1; next = NONE; early = 0; seen = 0; have = NONE; held = NONE; leave = NONE; in_hand[e] = 0; g = 1 };
  atomic { is_reborn -> goto top }
#endif
}

#ifdef VICTIM
#define WAKE_BLOCKED if :: P0 == BLOCK -> returned[0] = true :: else fi; if :: P1 == BLOCK -> returned[(E-1)*G] = true :: else fi
proctype Launcher() {
end_all_live:
  atomic { reader_word == 1 -> news = 1 };
  atomic { writer_bell = true; returned[VICTIM*G] = true; WAKE_BLOCKED };
  atomic { reader_word = 2 };
  atomic { news = 2 };
  atomic { writer_bell = true; returned[VICTIM*G] = (gen[VICTIM] == 0); returned[VICTIM*G+1] = true; WAKE_BLOCKED; is_reborn = true }
}
#endif

proctype Rest() { /* nobody can do anything any more */
  byte e; byte n;
end_busy:
  timeout;
  atomic {
    assert(head[o] == SAMPLES(o) && nfree <= S);
#ifdef VICTIM
    assert(known_word == reader_word && reader_word != 1);
#endif
    e = 0;
    do :: e < E ->
          assert(!away[e]);
          assert(tokens[EG(e)] == 0);           /* it sleeps, and something waits for it; or a stale token */
          assert(in_hand[e] == 0 && out[e] == o);
          assert(accounted[OE(e)] == BIT(SAMPLES(o)) - 1);
#ifdef WRITER_DIES
          /* A writer that dies between HEAD and the tokens has sent a sample that nobody can get. */
          if :: o == 1 && head[0] > 0 -> assert((accounted[e] | BIT(head[0]-1)) == BIT(head[0]) - 1) :: else fi;
#endif
          read_log(e);
          e++
       :: else -> break od;
    e = 0;
    do :: e < S -> assert(batons[e] == 0);      /* each slot came back, and is there once */
          n = e+1; do :: n < S -> assert(free_slots[e] != free_slots[n]); n++ :: else -> break od;
          e++
       :: else -> break od;
    assert(nfree == S)
  }
}

init { atomic {
  nfree = S;
  i = 0; do :: i < S -> free_slots[i] = S-1-i; i++ :: else -> break od;
  i = 0; do :: i < O*S -> place[i] = NONE; i++ :: else -> break od; i = 0;
  i = 0; do :: i < O*E -> begin_gen[i] = (i < E -> 0 : NONE); floor_gen[i] = begin_gen[i]; i++ :: else -> break od; i = 0;
  run Writer(); run Reader(0);
  if :: E > 1 -> run Reader(1) :: else fi;
#ifdef VICTIM
  run Launcher();
#endif
  run Rest()
} }
