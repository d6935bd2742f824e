/* The ring's protocol: slot words, hints, sleeping and waking, deaths and their settling, with every
 * shared access a step of its own, and a worker that may die before any of them.
 *
 * What is checked, in every state that can be reached:
 *  - no run begins without permission, no task is committed twice, nothing is written to a slot that
 *    has become another task's (assertions);
 *  - when nothing can move any more, every task has been taken by the host, although no wait has a
 *    bound here: nobody sleeps with work to do, no waiter is left waiting (invalid end states).
 *
 * A step is an `atomic` that begins with WORKER or HOST and the name of its place, which stands in the code
 * that it models, in a comment `model: name`; check.py compares the two sets. Atomics are sequentially consistent,
 * as every one is on which an argument rests; a store that is only a release waits in `tail_buffer` until the
 * host's next exchange, or until it pleases.
 *
 * States, of two workers (check.py has the settings; two virtual CPUs shared with others):
 *   one task 884,883; killed 1,041,308; polling 1,687,434; given up 302,521; two tasks, one hangs, polling 567,890;
 *   two tasks 10,898,181 in 67 s; two tasks in one slot, polling 11,299,670 in 58 s.
 * By hand: another run 1,032,689; a skipped slot, polling 4,123,273; given up, the slot used again 11,035,772;
 *   low priority, polling 14,115,964; two tasks, polling 18,465,229; two waiters 19,987,874 in 241 s. */

#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef TASKS
#define TASKS 1
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef KILLS       /* by the host, of a worker that the task may have nothing to do with */
#define KILLS 0
#endif
#ifndef RETRIES     /* a task's, after a lost run */
#define RETRIES 0
#endif
#ifndef GIVE_UPS    /* by the host: timed_out and cancelled */
#define GIVE_UPS 0
#endif
#ifndef WAITERS     /* threads of the host that wait for one task */
#define WAITERS 1
#endif
#ifndef POLLS
#define POLLS 0
#endif
#ifndef QUEUE       /* the low queue, and how many of the first tasks go there */
#define QUEUE 0
#endif
#ifndef HANGS       /* the first task never ends */
#define HANGS 0
#endif

#ifndef POSITIONS   /* more than tasks where the host may have to skip one */
#define POSITIONS TASKS
#endif

#define empty 0
#define awaited 1
#define ready 2
#define claimed 3
#define done 4
#define given_up 5
#define lost 6

typedef slot_word { byte state; byte owner; byte seq; byte attempt; bool waited; bool low };
slot_word word[SLOTS];      /* seq: position + 1, so that an empty word is all zeros */
byte head, tail;
byte idle;                  /* one bit a worker */
byte retry;                 /* one entry: position + 1 */
bool bumped[WORKERS];       /* the bed's count has changed since its owner read it */
bool asleep[WORKERS];       /* in the kernel, on the bed */
byte running[WORKERS];      /* the journal */
byte left_run[WORKERS];
#if QUEUE
byte queue_head, queue_tail, entries[SLOTS];
#endif

/* The host's private books. */
bool mutex;
bool in_use[SLOTS], quarantined[SLOTS];
byte position_of[SLOTS], retries_left[SLOTS];
byte next_position, published_before;
byte submitted, tail_buffer;
bool published[POSITIONS], collected[POSITIONS];
byte condemned_for[WORKERS];
byte gone;                  /* settled workers, one bit each */
byte waits_on[WAITERS];     /* slot + 1 of a thread that sleeps in the kernel */

/* What the kernel and the observer know. */
byte deaths, give_ups;
#if KILLS
byte kills = KILLS;
#endif
byte dead, killed, condemned, to_kill;   /* one bit a worker */
byte may_start[POSITIONS];
bool committed[POSITIONS];

#define slot_of(position) ((position) % SLOTS)
#define run_of(position, attempt) ((position) * 4 + (attempt) + 1)
#define bit(w) (1 << (w))
#define has(set, w) (((set) >> (w)) & 1)
#define here word[slot_of(reserved)]
#define is_marked (here.state == awaited && here.owner == me + 1)

#define WORKER(place) if :: deaths > 0 -> deaths--; goto died :: has(killed, me) -> goto died :: true fi;
#define HOST(place)

#ifdef MUTANT_ONE_WAITER
#define wake_waiters(s) \
    if :: waits_on[0] == s + 1 -> waits_on[0] = 0 :: waits_on[1] == s + 1 -> waits_on[1] = 0 :: else fi
#elif WAITERS == 1
#define wake_waiters(s) if :: waits_on[0] == s + 1 -> waits_on[0] = 0 :: else fi
#else
#define wake_waiters(s) \
    if :: waits_on[0] == s + 1 -> waits_on[0] = 0 :: else fi; if :: waits_on[1] == s + 1 -> waits_on[1] = 0 :: else fi
#endif

inline clear(s) {
    word[s].state = empty; word[s].owner = 0; word[s].seq = 0; word[s].attempt = 0; word[s].waited = 0; word[s].low = 0
}
inline lower(to) { if :: head > to -> head = to :: else fi }

/* ---------------------------------------------------------------- waking, by workers */

inline wake(count) {
    atomic { WORKER("wake.look") bits = idle; n = count; i = 0 };
    do
    :: atomic { i < WORKERS && n > 0 && !has(bits, i) -> i++ }
    :: atomic { i < WORKERS && n > 0 && has(bits, i) -> WORKER("wake.clear_bit")
           got = has(idle, i);
           if :: got -> idle = idle & ~bit(i) :: else -> i++ fi };
       if
       :: atomic { got -> WORKER("wake.bump") bumped[i] = 1 };
          atomic { WORKER("wake.call") asleep[i] = 0; i++; n--; got = 0 }
       :: atomic { !got -> skip }
       fi
    :: atomic { i >= WORKERS || n == 0 -> bits = 0; n = 0; i = 0; break }
    od
}

/* ---------------------------------------------------------------- claiming */

inline note_task(s) {
    word[s].state = claimed; word[s].owner = me + 1; position = word[s].seq - 1; attempt = word[s].attempt; got = 1
}

/* claimer::stop_polling: takes the mark off; what the host published there before counts on us. */
inline stop_polling() {
    if
    :: atomic { !polls -> got = 0 }
    :: atomic { polls -> WORKER("claim.stop_polling")
           polls = 0; got = 0;
           if
           :: is_marked -> clear(slot_of(reserved))
#ifndef MUTANT_PROMISE_BROKEN
           :: !is_marked && here.state == ready ->
                note_task(slot_of(reserved)); reserves = 0;
                if :: position != reserved -> lower(reserved) :: else fi
#endif
           :: else
           fi }
    fi
}

proctype worker(byte me) {
    byte reserved, position, attempt, next, bits, seen, n, i;
    bool reserves, polls, got;

look_for_work:
    /* What is published where we poll comes first. */
    if
    :: atomic { polls -> WORKER("claim.promised") got = !is_marked };
       if :: atomic { got -> got = 0 };
             stop_polling();
             if :: atomic { got -> goto look_behind } :: atomic { !got -> skip } fi
          :: atomic { !got -> skip }
       fi
    :: atomic { !polls -> skip }
    fi;

    /* Put back. */
    atomic { WORKER("claim.retry") seen = retry };
    if
    :: atomic { seen != 0 -> skip };
       stop_polling();
       if :: atomic { got -> seen = 0; goto out_of_turn } :: atomic { !got -> skip } fi;
       atomic { WORKER("claim.take")
           got = 0;
           if :: word[slot_of(seen - 1)].state == ready -> note_task(slot_of(seen - 1)) :: else fi };
       atomic { WORKER("claim.clear_retry")
           if :: retry == seen -> retry = 0 :: else fi;
           seen = 0;
           if :: got -> goto out_of_turn :: else fi }
    :: atomic { seen == 0 -> skip }
    fi;

    /* From head. */
    do
    :: atomic { !reserves -> WORKER("claim.reserve") reserved = head; head++; reserves = 1 }
    :: atomic { reserves -> WORKER("claim.take")
           if :: here.state == ready && !here.low -> note_task(slot_of(reserved)); polls = 0; goto from_head :: else fi };
       atomic { WORKER("claim.tail") got = tail <= reserved;
           if :: got -> got = 0; break :: else fi };
       atomic { WORKER("claim.take")
           if :: here.state == ready && !here.low -> note_task(slot_of(reserved)); polls = 0; goto from_head :: else fi };
       /* Passed: claimed by another, skipped, or the low queue's. */
       stop_polling();
       if :: atomic { got -> goto look_behind } :: atomic { !got -> skip } fi;
       atomic { reserves = 0; reserved = 0 }
    od;

#if QUEUE
    do
    :: atomic { WORKER("claim.queue") seen = queue_head;
           got = seen != queue_tail; if :: got -> got = 0 :: else -> seen = 0; break fi };
       stop_polling();
       if :: atomic { got -> seen = 0; goto out_of_turn } :: atomic { !got -> skip } fi;
       atomic { WORKER("claim.entry") got = queue_head == seen;
           if :: got -> queue_head++; got = 0 :: else -> seen = queue_head fi;
           next = entries[slot_of(seen)] };
       atomic { WORKER("claim.take") seen = 0;
           if :: word[slot_of(next)].state == ready && word[slot_of(next)].seq == next + 1 -> note_task(slot_of(next)) :: else fi;
           next = 0;
           if :: got -> goto out_of_turn :: else fi }
    od;
#endif
    if
    :: atomic { POLLS && !polls && here.state == empty -> WORKER("claim.mark")
           here.state = awaited; here.owner = me + 1; polls = 1 };
       goto look_for_work
    :: atomic { POLLS && polls && !is_marked -> goto look_for_work }   /* seen while polling */
    :: atomic { POLLS && head < tail -> skip };                         /* so is this */
       stop_polling();
       if :: atomic { got -> goto look_behind } :: atomic { !got -> skip } fi;
       atomic { WORKER("claim.give_up") lower(reserved); reserves = 0; reserved = 0 };
       goto look_for_work
    :: goto park
    fi;

park:
    stop_polling();
    if :: atomic { got -> goto look_behind } :: atomic { !got -> skip } fi;
    atomic { WORKER("claim.give_up")
#ifndef MUTANT_RESERVATION_KEPT
        lower(reserved);
#endif
        reserves = 0; reserved = 0 };
    atomic { WORKER("sleep.read_bed") bumped[me] = 0 };
#ifndef MUTANT_WORKER_FENCE
    atomic { WORKER("sleep.idle") idle = idle | bit(me) };
#endif
    atomic { WORKER("sight.tail") seen = tail };
    atomic { WORKER("sight.head") got = head < seen; seen = 0 };
    atomic { WORKER("sight.retry") got = got || retry != 0 };
#if QUEUE
    atomic { WORKER("sight.queue") got = got || queue_head != queue_tail };
#endif
#ifdef MUTANT_WORKER_FENCE
    atomic { WORKER("sleep.idle") idle = idle | bit(me) };
#endif
    if
    :: atomic { got -> got = 0 }
    :: atomic { !got -> WORKER("sleep.wait") asleep[me] = !bumped[me] };
end_asleep:
       if
       :: atomic { !asleep[me] -> skip }
       :: atomic { deaths > 0 -> deaths--; goto died }
       :: atomic { has(killed, me) -> goto died }
       fi
    fi;
    atomic { WORKER("sleep.get_up") idle = idle & ~bit(me); bumped[me] = 0 };
    goto look_for_work;

from_head:
    atomic { got = 0; reserves = 0;
        if :: position == reserved -> reserved = 0; goto look_behind :: else fi };
    /* An older task lay in this slot. */
    atomic { WORKER("claim.give_up") lower(reserved); reserved = 0 };

look_behind:
    atomic { got = 0; if :: !reserves -> reserved = 0 :: else fi };
#ifndef MUTANT_NOT_BEHIND
    atomic { WORKER("behind.any") got = idle != 0; if :: !got -> goto run_task :: else -> got = 0 fi };
    atomic { WORKER("behind.tail") seen = tail; next = position + 1 };
    do
    :: atomic { next < seen && n < 2 -> WORKER("behind.word") n = n + (word[slot_of(next)].state == ready); next++ }
    :: atomic { next >= seen || n == 2 -> next = 0; seen = 0; break }
    od;
#if QUEUE
    if :: atomic { n == 0 -> WORKER("sight.queue") n = queue_head != queue_tail } :: atomic { n > 0 -> skip } fi;
#endif
    if :: atomic { n > 0 -> seen = n }; wake(seen); seen = 0 :: atomic { n == 0 -> skip } fi;
#endif
    goto run_task;

out_of_turn:
    atomic { got = 0; n = 0 };
    if
    :: atomic { reserves -> WORKER("claim.give_up") lower(reserved); reserves = 0; reserved = 0 }
    :: atomic { !reserves -> reserved = 0 }
    fi;
    atomic { WORKER("behind.any") got = idle != 0; if :: !got -> goto run_task :: else -> got = 0 fi };
    atomic { WORKER("sight.tail") seen = tail };
    atomic { WORKER("sight.head") got = head < seen; seen = 0 };
    atomic { WORKER("sight.retry") got = got || retry != 0 };
#if QUEUE
    atomic { WORKER("sight.queue") got = got || queue_head != queue_tail };
#endif
    if :: atomic { got -> got = 0 }; wake(1) :: atomic { !got -> skip } fi;

run_task:
    atomic { got = 0; n = 0 };
    atomic { WORKER("run.begin")
        running[me] = run_of(position, attempt);
        assert(may_start[position] > 0);     /* no run without permission */
        may_start[position]--;
        if :: HANGS && position == 0 -> skip :: else -> goto finish fi };
end_hanging:
    if :: atomic { deaths > 0 -> deaths--; goto died } :: atomic { has(killed, me) -> goto died } fi;

finish:
    atomic { WORKER("run.result") assert(word[slot_of(position)].seq == position + 1) };    /* our slot still */
    atomic { WORKER("commit.word")
#ifndef MUTANT_PLAIN_COMMIT
        got = word[slot_of(position)].state == claimed && word[slot_of(position)].owner == me + 1 &&
              word[slot_of(position)].attempt == attempt && word[slot_of(position)].seq == position + 1;
#else
        got = 1;
#endif
        if
        :: got -> assert(!committed[position]);
                  assert(word[slot_of(position)].state == claimed);     /* not over what the host has settled */
                  committed[position] = 1;
                  word[slot_of(position)].state = done; got = word[slot_of(position)].waited
        :: else -> goto refused
        fi };
    if :: atomic { got -> WORKER("commit.wake") wake_waiters(slot_of(position)); got = 0 } :: atomic { !got -> skip } fi;
    atomic { WORKER("run.end") running[me] = 0; position = 0; attempt = 0 };
    goto look_for_work;

refused:
    /* Blocked when the host has condemned us: its SIGKILL is on the way. */
    if
    :: atomic { !has(condemned, me) -> WORKER("run.refused") running[me] = 0 }
    :: atomic { has(killed, me) -> goto died }
    fi;
    atomic { WORKER("run.left")
#ifndef MUTANT_LEFT_UNSAID
        left_run[me] = run_of(position, attempt);
#endif
        position = 0; attempt = 0 };
    goto look_for_work;

died:
    atomic {
        reserved = 0; position = 0; attempt = 0; next = 0; bits = 0; seen = 0; n = 0; i = 0;
        reserves = 0; polls = 0; got = 0;
        asleep[me] = 0; dead = dead | bit(me)
    }
}

/* ---------------------------------------------------------------- the host */

inline flush() { if :: tail_buffer > 0 -> tail = tail_buffer; tail_buffer = 0 :: else fi }

/* A release store reaches the others when it pleases. */
proctype buffer() {
end:
    do
    :: atomic { tail_buffer > 0 -> flush() }
    od
}

inline host_wake_one() {
    if
    :: atomic { idle == 0 -> skip }
    :: atomic { has(idle, 0) -> HOST("wake.clear_bit") idle = idle & ~bit(0); w = 0 };
       atomic { HOST("wake.bump") bumped[w] = 1 };
       atomic { HOST("wake.call") asleep[w] = 0 }
    :: atomic { !has(idle, 0) && idle != 0 -> HOST("wake.clear_bit")
           if :: has(idle, 1) -> w = 1 :: else -> w = 2 fi;
           idle = idle & ~bit(w) };
       atomic { HOST("wake.bump") bumped[w] = 1 };
       atomic { HOST("wake.call") asleep[w] = 0; w = 0 }
    fi
}

/* ring::publish, in the free slot of `p`. */
inline publish(p) {
    atomic { HOST("submit.record")
        in_use[slot_of(p)] = 1; position_of[slot_of(p)] = p; retries_left[slot_of(p)] = RETRIES;
        published[p] = 1; may_start[p] = 1; submitted++; next_position = p + 1 };
#if QUEUE
    if :: atomic { p < QUEUE -> HOST("publish.entry") entries[slot_of(queue_tail)] = p } :: atomic { p >= QUEUE -> skip } fi;
#endif
    atomic { HOST("publish.word") flush();
        polled = word[slot_of(p)].state == awaited;
        assert(polled || word[slot_of(p)].state == empty);
        clear(slot_of(p));
        word[slot_of(p)].state = ready; word[slot_of(p)].seq = p + 1; word[slot_of(p)].low = p < QUEUE };
#if QUEUE
    if :: atomic { p < QUEUE -> HOST("publish.queue_tail") queue_tail++ } :: atomic { p >= QUEUE -> skip } fi;
#endif
    if
    :: atomic { polled -> HOST("publish.tail_polled") tail_buffer = p + 1; published_before = p + 1; polled = 0 }
    :: atomic { !polled ->
#ifndef MUTANT_HOST_FENCE
           HOST("publish.tail") tail = p + 1
#else
           tail_buffer = p + 1
#endif
       };
       atomic { HOST("publish.any") polled = idle != 0 };
       if
       :: atomic { polled -> HOST("publish.previous")
              polled = !(published_before > 0 && word[slot_of(published_before - 1)].state == ready &&
                         word[slot_of(published_before - 1)].seq == published_before) };
          if :: atomic { polled -> skip }; host_wake_one() :: atomic { !polled -> skip } fi
       :: atomic { !polled -> skip }
       fi;
       atomic { published_before = p + 1; polled = 0 }
    fi
}

#define is_over(p) (word[slot_of(p)].seq != p + 1 || word[slot_of(p)].state >= done)

/* pool_core::sleep_for, by thread `t`. */
inline wait_for(p, t) {
    do
    :: atomic { is_over(p) -> s = 0; o = 0; a = 0; break }
    :: atomic { !is_over(p) -> HOST("wait.look")
           s = word[slot_of(p)].state; o = word[slot_of(p)].owner; a = word[slot_of(p)].attempt };
       atomic { HOST("wait.mark")
           if
           :: word[slot_of(p)].state == s && word[slot_of(p)].owner == o && word[slot_of(p)].attempt == a &&
              word[slot_of(p)].seq == p + 1 -> word[slot_of(p)].waited = 1
           :: else -> s = 0
           fi };
       atomic { HOST("wait.sleep")
           if
           :: s != 0 && word[slot_of(p)].state == s && word[slot_of(p)].owner == o && word[slot_of(p)].attempt == a &&
              word[slot_of(p)].seq == p + 1 && word[slot_of(p)].waited -> waits_on[t] = slot_of(p) + 1
           :: else
           fi;
           s = 0; o = 0; a = 0 };
       waits_on[t] == 0
    od
}

/* pool_core::may_be_written, and free_record. */
#define may_be_written(x) \
    (word[x].state == given_up && word[x].owner != 0 && !has(gone, word[x].owner - 1) && \
     condemned_for[word[x].owner - 1] == run_of(word[x].seq - 1, word[x].attempt) && \
     left_run[word[x].owner - 1] != condemned_for[word[x].owner - 1])
inline free(x) {
    if
#ifndef MUTANT_NO_QUARANTINE
    :: may_be_written(x) -> quarantined[x] = 1
#endif
    :: else -> quarantined[x] = 0; in_use[x] = 0; position_of[x] = 0; retries_left[x] = 0; clear(x)
    fi
}
inline collect(x) {
    assert(word[x].state >= done && word[x].seq == position_of[x] + 1);
    assert(word[x].state != done || committed[position_of[x]]);
    collected[position_of[x]] = 1;
    free(x)
}

#define next_slot slot_of(next_position)
#define has_result(x) (in_use[x] && !quarantined[x] && word[x].state >= done)
#define must_wait_for(p) (published[p] && !collected[p] && !(HANGS && !GIVE_UPS && p == 0))

#if POSITIONS == 1
#define all_collected !must_wait_for(0)
#elif POSITIONS == 2
#define all_collected (!must_wait_for(0) && !must_wait_for(1))
#elif POSITIONS == 3
#define all_collected (!must_wait_for(0) && !must_wait_for(1) && !must_wait_for(2))
#else
#define all_collected (!must_wait_for(0) && !must_wait_for(1) && !must_wait_for(2) && !must_wait_for(3))
#endif

/* A thread of the user's: submits, waits, takes. */
proctype user() {
    byte p, w, s, o, a;
    bool polled;
    do
    :: atomic { !mutex && submitted < TASKS && (!in_use[next_slot] || has_result(next_slot)) ->
           HOST("submit.find_room") mutex = 1; flush();
           p = next_position;
           if
           :: in_use[slot_of(p)] ->
#ifndef MUTANT_HARVEST_SILENT
                if :: word[slot_of(p)].waited -> wake_waiters(slot_of(p)) :: else fi;
#endif
                collect(slot_of(p))
           :: else
           fi;
           if :: in_use[slot_of(p)] -> mutex = 0; goto again :: else fi };
       publish(p);
       atomic { mutex = 0 };
again:
       atomic { p = 0 }
    :: atomic { !mutex && submitted < TASKS && in_use[next_slot] && word[next_slot].state != ready &&
                next_position + 1 < POSITIONS -> HOST("submit.skip") next_position++ }
    :: atomic { must_wait_for(p) -> skip };
       wait_for(p, 0);
       atomic { !mutex -> HOST("take.slot") flush();
           if
           :: !collected[p] ->
#if WAITERS > 1 && !defined(MUTANT_TAKE_SILENT)
                if :: word[slot_of(p)].waited -> wake_waiters(slot_of(p)) :: else fi;
#endif
                collect(slot_of(p))
           :: else
           fi };
       atomic { p = 0 }
    :: atomic { p + 1 < POSITIONS && !must_wait_for(p) && must_wait_for(p + 1) -> p++ }
    :: atomic { submitted == TASKS && all_collected -> break }
    od
}

#if WAITERS > 1
/* Another thread, that waits for the first task only. */
proctype other() {
    byte s, o, a;
    atomic { published[0] -> skip };
    wait_for(0, 1)
}
#endif

#ifndef MUTANT_SETTLE_EARLY
#define doomed (dead & ~gone)
#else
#define doomed (killed & ~gone)
#endif
#define settles_now (doomed != 0)
#define may_give_up(x) (in_use[x] && word[x].state == claimed)
#define may_finish(w) \
    (has(to_kill, w) && (left_run[w] == condemned_for[w] || running[w] == condemned_for[w]))
#define quarantine_ends(x) (quarantined[x] && !may_be_written(x))

proctype monitor() {
    byte w, x, d, loses, p;
    bool waited;
end:
    do
    /* A death, proved. */
    :: atomic { !mutex && settles_now -> HOST("settle.proof") mutex = 1; flush(); d = 0;
           do :: !has(doomed, d) -> d++ :: else -> break od };
       do
       :: atomic { x < SLOTS && in_use[x] && word[x].owner == d + 1 && word[x].state == claimed && !quarantined[x] ->
              HOST("settle.journal")
#ifndef MUTANT_NO_JOURNAL
              waited = running[d] == run_of(position_of[x], word[x].attempt)
#endif
          };
          if
          :: atomic { waited && retries_left[x] == 0 -> waited = 0; loses = x + 1 }
          :: atomic { !waited || retries_left[x] > 0 ->
                 if :: waited -> retries_left[x]--; may_start[position_of[x]]++; waited = 0 :: else fi;
                 HOST("put_back.word")
                 word[x].state = ready; word[x].owner = 0; word[x].attempt++ };
             atomic { HOST("put_back.retry")
                 if :: retry == 0 -> retry = word[x].seq :: else -> lower(word[x].seq - 1) fi };
             host_wake_one()
          fi;
          atomic { x++ }
       :: atomic { x < SLOTS && in_use[x] && word[x].owner == d + 1 && word[x].state == done -> HOST("settle.harvest")
#ifndef MUTANT_HARVEST_SILENT
              if :: word[x].waited -> wake_waiters(x) :: else fi;
#endif
              collect(x); x++ }
       :: atomic { x < SLOTS && !(in_use[x] && word[x].owner == d + 1 &&
                   ((word[x].state == claimed && !quarantined[x]) || word[x].state == done)) -> x++ }
       :: atomic { x == SLOTS -> x = 0; break }
       od;
       /* ring::recover */
       atomic { HOST("recover.forget") gone = gone | bit(d); idle = idle & ~bit(d) };
#ifndef MUTANT_HEAD_KEPT
       atomic { HOST("recover.head") p = next_position;
           do
           :: x < SLOTS && in_use[x] && word[x].state == ready && position_of[x] < p -> p = position_of[x]; x++
           :: x < SLOTS && !(in_use[x] && word[x].state == ready && position_of[x] < p) -> x++
           :: x == SLOTS -> x = 0; break
           od;
           lower(p); p = 0 };
#endif
#if QUEUE
       atomic { HOST("recover.queue") if :: queue_tail > SLOTS -> queue_head = queue_tail - SLOTS :: else -> queue_head = 0 fi };
#endif
#if !defined(MUTANT_NO_WAKE)
       do
#ifdef MUTANT_WAKE_SET_BITS
       :: atomic { x < WORKERS && has(idle, x) -> idle = idle & ~bit(x); bumped[x] = 1; asleep[x] = 0; x++ }
       :: atomic { x < WORKERS && !has(idle, x) -> x++ }
#else
       :: atomic { x < WORKERS -> HOST("wake.bump") bumped[x] = 1 };
          atomic { HOST("wake.call") asleep[x] = 0; x++ }
#endif
       :: atomic { x == WORKERS -> x = 0; break }
       od;
#endif
#ifndef MUTANT_MARK_KEPT
       do
       :: atomic { x < SLOTS -> HOST("recover.mark")
              if :: word[x].state == awaited && word[x].owner == d + 1 -> clear(x) :: else fi; x++ }
       :: atomic { x == SLOTS -> x = 0; break }
       od;
#endif
       atomic { to_kill = to_kill & ~bit(d) };
       if
       :: atomic { loses > 0 -> HOST("settle.lost") x = loses - 1; loses = 0;
              assert(!has(killed, d) || DEATHS + KILLS > 0);         /* no task dies with a late one */
              waited = word[x].waited; word[x].state = lost };
          if :: atomic { waited -> HOST("settle.wake") wake_waiters(x); waited = 0 } :: atomic { !waited -> skip } fi
       :: atomic { loses == 0 -> skip }
       fi;
       atomic { x = 0; d = 0; mutex = 0 }
#if KILLS
    /* pool_core::kill_worker: of one that doesn't begin what it claimed, or doesn't answer. */
    :: atomic { !mutex && kills > 0 -> HOST("worker.kill") kills--;
           if :: killed = killed | bit(0) :: killed = killed | bit(WORKERS - 1) fi }
#endif
#if GIVE_UPS
    /* pool_core::give_up, of what a worker has. */
    :: atomic { !mutex && give_ups > 0 && (may_give_up(0) || may_give_up(SLOTS - 1)) -> HOST("give_up.word") mutex = 1; flush(); give_ups--;
           if :: may_give_up(0) -> x = 0 :: may_give_up(SLOTS - 1) -> x = SLOTS - 1 fi;
           d = word[x].owner - 1; waited = word[x].waited; word[x].state = given_up };
       if :: atomic { waited -> HOST("give_up.wake") wake_waiters(x); waited = 0 } :: atomic { !waited -> skip } fi;
       atomic { HOST("give_up.condemn") condemned_for[d] = run_of(position_of[x], word[x].attempt);
           to_kill = to_kill | bit(d); x = 0; d = 0; mutex = 0 }
    /* pool_core::finish_condemned: it has left the task, or is in it. */
    :: atomic { !mutex && (may_finish(0) || may_finish(1)) -> HOST("condemn.look") mutex = 1; flush();
           if :: may_finish(0) -> d = 0 :: may_finish(1) -> d = 1 fi;
           if :: left_run[d] == condemned_for[d] -> to_kill = to_kill & ~bit(d); d = 0; mutex = 0; goto again :: else fi };
       atomic { HOST("condemn.mark")
           if
#ifndef MUTANT_KILL_UNMARKED
           :: running[d] == condemned_for[d] -> condemned = condemned | bit(d)
           :: else -> d = 0; mutex = 0; goto again
#else
           :: true
#endif
           fi };
       atomic { HOST("condemn.kill") killed = killed | bit(d); to_kill = to_kill & ~bit(d); d = 0; mutex = 0 }
    /* pool_core::end_quarantine */
    :: atomic { !mutex && (quarantine_ends(0) || quarantine_ends(SLOTS - 1)) -> HOST("quarantine.end") flush();
           if :: quarantine_ends(0) -> x = 0 :: else -> x = SLOTS - 1 fi;
           free(x); x = 0 };
again: skip
#endif
    od
}

init {
    byte i;
    atomic {
        if :: deaths = 0 :: deaths = DEATHS fi;
        if :: !HANGS -> give_ups = 0 :: give_ups = GIVE_UPS fi;     /* what hangs is given up, if anything is */
        run user(); run monitor(); run buffer();
#if WAITERS > 1
        run other();
#endif
        do :: i < WORKERS -> run worker(i); i++ :: else -> i = 0; break od
    }
}
