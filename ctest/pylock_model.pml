/*
 * pylock_model.pml - a model in Promela of the mutex in capi/internal/sync/pylock.c: the byte, the parking
 * lot, the kernel's futex, and the bell that wakes goroutines (capi/mutex.go).
 *
 * spin tries every interleaving of two threads and a goroutine. At first the mutex is free, or its byte
 * has any value that a fork may leave. If the mutex is locked then, thread 0 begins with an unlock. Each
 * thread may lock and unlock once. The goroutine may do so twice, and its second wait uses the same waiter
 * and token. Thread 0 waits without limit, and thread 1 in any way. The goroutine waits without limit, or
 * may give up.
 *
 * The model has no hints, because the mutex must be correct with any values of them. So an unlock may or
 * may not reserve the mutex. There is no spin, because a lock after a spin is only a later lock.
 *
 * Invariants:
 *
 *   - At most one thread or goroutine has the mutex.
 *   - The rules of pylock.c hold while no thread holds the bucket's lock.
 *   - A goroutine begins no wait with a token of an earlier wait.
 *   - At the end no waiter sleeps. Otherwise spin reports an invalid end state.
 *
 * BROKEN may be defined as one of these mistakes. spin must find each.
 */
#define NO_WAKE 1        /* an unlock wakes nobody */
#define NO_MARK 2        /* a waiter that will sleep does not show it in the byte */
#define FORGETS_OTHERS 3 /* a waiter that takes the mutex does not show that others sleep */
#define LEAVES_DUTY 4    /* a waiter that was woken and gives up does not show that others sleep */
#define BLIND_CHANGE 5   /* a waiter that settles changes the byte without a comparison */
#define BLIND_SLEEP 6    /* the kernel does not compare the word before a sleep */
#define NO_LAPSE 7       /* a waiter that stands aside for another does so without limit */
#define NO_TOKEN 8       /* a goroutine that gives up does not wait for a token that is sent */
#define LATE_CLEAR 9     /* the bell clears has_rung after it has looked for goroutines */
#ifndef BROKEN
#define BROKEN 0
#endif

#define FREE 0
#define LOCKED 1
#define RESERVED 2
/* LOCKED | PARKED of pylock.c. */
#define PARKED 3

/* Waiters have numbers: 0 and 1 are the threads. */
#define GOROUTINE 2
#define ALL 3
#define NONE 3

mtype = { STAY, LAPSED, LEAVE };
/* Ways to lock: NO_WAY while the waiter does not lock; not to wait; to wait without limit; to wait for a
   time; to wait until a signal handler runs. */
mtype:way = { NO_WAY, TRY, WAIT, TIMED, INTERRUPTIBLE };
#define may_give_up (way == TIMED || way == INTERRUPTIBLE)

byte bits;
bool bucket;            /* the bucket's lock: a waiter or an unlock holds it */
byte queue[ALL] = NONE; /* the waiters, in the order in which they came */
bool awake[ALL];        /* the word of a waiter is AWAKE */
bool asleep[ALL];       /* the kernel has put the waiter to sleep */
bool token[ALL];        /* the goroutine has a token to receive */
bool rings_for[ALL];    /* the goroutine is in the list of the bell */
bool has_rung, bell_sleeps;

/* Only for the proof: how many threads and goroutines have the mutex. */
byte holders;

/* Puts the caller at the end of the queue. `me` is the number of the caller. */
inline append()
{
    if
    :: queue[0] == NONE -> queue[0] = me
    :: queue[0] != NONE && queue[1] == NONE -> queue[1] = me
    :: queue[0] != NONE && queue[1] != NONE -> queue[2] = me
    fi
}

inline remove()
{
    if
    :: queue[0] == me -> queue[0] = queue[1]; queue[1] = queue[2]
    :: queue[1] == me -> queue[1] = queue[2]
    :: queue[2] == me
    fi;
    queue[2] = NONE
}

#define is_in (queue[0] == me || queue[1] == me || queue[2] == me)
#define others ((queue[0] != NONE && queue[0] != me) || queue[1] != NONE)
#define other_is_awake (queue[0] != NONE && queue[0] != me && awake[queue[0]])

/* Chooses the next value of the byte from the value that was read. */
inline decide()
{
    has = now == FREE || (now == RESERVED && (was_awake || wish != STAY));
    stays = !has && wish != LEAVE;
    if
    :: stays && now == RESERVED -> next = RESERVED
    :: !(stays && now == RESERVED) && BROKEN == LEAVES_DUTY && was_awake && !stays && !has ->
        next = LOCKED
    :: !(stays && now == RESERVED) &&
           !(BROKEN == LEAVES_DUTY && was_awake && !stays && !has) &&
           ((stays && BROKEN != NO_MARK) || (others && !(BROKEN == FORGETS_OTHERS && has))) &&
           !other_is_awake ->
        next = PARKED
    :: else -> next = LOCKED
    fi
}

/* mutex_settle. Afterwards `has` tells whether the caller has the mutex. Each step has one access to the
   byte. It may include all else that is done under the bucket's lock, because others see that only when
   they hold the lock later. */
inline settle()
{
    atomic { !bucket -> bucket = true; was_awake = is_in && awake[me]; now = bits; decide() }
    do
    :: atomic {
           bits == now || BROKEN == BLIND_CHANGE ->
           bits = next;
           if
           :: has -> assert(holders == 0); holders++
           :: else
           fi;
           if
           :: stays && !is_in -> append()
           :: !stays && is_in -> remove()
           :: else
           fi;
           awake[me] = false;
           aside = next == RESERVED;
           now = 0; next = 0; stays = false;
           bucket = false;
           break
       }
    :: atomic { bits != now && BROKEN != BLIND_CHANGE -> now = bits; decide() }
    od
}

/* Sleeps, and sets the wish for the next settle. */
inline sleep()
{
    if
    :: atomic {
           me != GOROUTINE ->
           /* The kernel compares the word, and begins the sleep in the same step. */
           if
           :: !awake[me] || BROKEN == BLIND_SLEEP -> asleep[me] = true
           :: else
           fi
       }
       /* The sleep ends in one of these ways. */
       atomic {
           if
           :: !asleep[me] -> wish = STAY
           :: aside && asleep[me] && BROKEN != NO_LAPSE -> asleep[me] = false; wish = LAPSED
           :: may_give_up && asleep[me] -> asleep[me] = false; wish = LEAVE
           fi;
           if
           :: awake[me] -> wish = STAY
           :: else
           fi;
           aside = false
       }
    :: atomic {
           me == GOROUTINE ->
           if
           :: token[me] -> token[me] = false; wish = LAPSED
           :: may_give_up -> wish = LEAVE
           fi;
           aside = false
       }
    fi
}

inline lock()
{
    atomic {
        if
        :: way = WAIT
        :: me == 1 -> way = TRY
        :: me != 0 -> way = TIMED
        :: me == 1 -> way = INTERRUPTIBLE
        fi;
        has = bits == FREE;
        if
        :: has -> bits = LOCKED; assert(holders == 0); holders++
        :: else
        fi
    }
    if
    :: has
    :: atomic {
           !has && way == TRY ->
           if
           :: bits == RESERVED -> bits = LOCKED; has = true; assert(holders == 0); holders++
           :: else
           fi
       }
    :: !has && way != TRY ->
        assert(!token[me]);
        /* A goroutine has stood aside before it waits. An interruptible wait never stands aside. */
        wish = (me == GOROUTINE || way == INTERRUPTIBLE -> LAPSED : STAY);
        do
        :: settle();
           if
           :: atomic {
                  wish == LEAVE && was_awake && me == GOROUTINE && BROKEN != NO_TOKEN && token[me] ->
                  token[me] = false; break
              }
           :: atomic {
                  !(wish == LEAVE && was_awake && me == GOROUTINE && BROKEN != NO_TOKEN) &&
                  (has || wish == LEAVE) -> break
              }
           :: atomic { !has && wish != LEAVE -> was_awake = false }
              sleep()
           fi
        od
    fi
}

/* Wakes the waiter `woken`: a thread by the kernel, and a goroutine by its token. A thread cannot send a
   token, so it rings for the bell. */
inline wake()
{
    if
    :: BROKEN == NO_WAKE || woken == NONE
    :: BROKEN != NO_WAKE && woken != NONE && woken != GOROUTINE -> asleep[woken] = false
    :: BROKEN != NO_WAKE && woken == GOROUTINE && me == GOROUTINE -> token[woken] = true
    :: BROKEN != NO_WAKE && woken == GOROUTINE && me != GOROUTINE ->
        rings_for[woken] = true;
        atomic {
            if
            :: !has_rung -> has_rung = true; has = true
            :: else
            fi
        }
        if
        :: has -> bell_sleeps = false; has = false
        :: else
        fi
    fi
}

inline unlock()
{
    has = false;
    if
    :: atomic { bits == LOCKED -> holders--; bits = FREE }
    :: atomic {
           bits != LOCKED && !bucket ->
           bucket = true;
           woken = queue[0];
           if
           :: next = FREE
           :: woken != NONE -> next = RESERVED
           fi
       }
       atomic {
           assert(bits == LOCKED || bits == PARKED);
           holders--;
           if
           :: bits == LOCKED -> bits = FREE; woken = NONE
           :: else -> bits = next
           fi;
           next = 0;
           if
           :: woken != NONE -> awake[woken] = true
           :: else
           fi;
           bucket = false
       }
       wake();
       woken = NONE
    fi
}

proctype waiter(byte me; bool holds)
{
    mtype:way way = NO_WAY;
    mtype wish = STAY;
    bool has, stays, was_awake, aside;
    byte now, next, woken = NONE, rounds = (me == GOROUTINE -> 2 : 1);
    if
    :: holds -> unlock()
    :: else
    fi;
    do
    :: break
    :: rounds > 0 ->
       rounds--;
       lock();
       /* These values are not needed any more. If they are always the same, there are fewer states. */
       atomic { way = NO_WAY; wish = STAY; was_awake = false; aside = false }
       if
       :: has -> unlock()
       :: else
       fi
    od
}

/* The goroutine that calls mutex_bell and sends the tokens. */
proctype bell()
{
    bool found;
    do
    :: if
       :: BROKEN != LATE_CLEAR -> has_rung = false
       :: else
       fi;
       atomic { found = rings_for[GOROUTINE]; rings_for[GOROUTINE] = false }
       if
       :: found -> token[GOROUTINE] = true
       :: else ->
           if
           :: BROKEN == LATE_CLEAR -> has_rung = false
           :: else
           fi;
           atomic {
               if
               :: !has_rung -> bell_sleeps = true
               :: else
               fi
           }
end:       !bell_sleeps
       fi
    od
}

#define sleeps(i) (queue[i] != NONE && !awake[queue[i]])
#define one_sleeps (sleeps(0) || sleeps(1) || sleeps(2))
#define one_is_awake (queue[0] != NONE && awake[queue[0]])

/* True if a fork has left the byte PARKED or RESERVED although there are no waiters. */
bool is_left_by_fork = false;

/* Checks the rules of pylock.c. */
proctype watch()
{
end:
    atomic {
        !bucket && !is_left_by_fork &&
        !((bits != PARKED || (one_sleeps && !one_is_awake)) && (bits != RESERVED || one_is_awake) &&
          (!one_sleeps || bits == PARKED || one_is_awake)) ->
        assert(false)
    }
}

init
{
    atomic {
        if
        :: bits = FREE
        :: bits = RESERVED; is_left_by_fork = true
        :: bits = LOCKED; holders = 1
        :: bits = PARKED; holders = 1; is_left_by_fork = true
        fi;
        run waiter(0, holders == 1);
        run waiter(1, false);
        run waiter(GOROUTINE, false);
        run bell();
        run watch()
    }
}
