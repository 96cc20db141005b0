/*
 * pylock_model.pml - the byte of a mutex, the parking lot (capi/internal/sync/pylock.c), the kernel's
 * futex and the bell of goroutines (capi/mutex.go), in Promela. spin tries every interleaving of two
 * threads and a goroutine. Each thread locks and unlocks once or not at all. The goroutine does so up to
 * twice; its second wait uses the same waiter and token. Thread 0 waits without limit, and the others in
 * any way. The mutex is free at first, or has any byte that a fork may leave. The hints of pylock.c are
 * left out, because the mutex must be correct with any values of them: an unlock chooses freely whether it
 * reserves the byte, and a spin is only a later lock.
 *
 * Invariants: at most one has the mutex. The rules of pylock.c hold while the bucket is empty. A goroutine
 * begins no wait with a token of an earlier wait. No waiter sleeps at the end; spin calls this an invalid
 * end state.
 *
 * BROKEN may be defined as one of these mistakes, which spin must find.
 */
#define NO_WAKE 1        /* an unlock wakes nobody */
#define NO_MARK 2        /* a waiter that will sleep does not show it in the byte */
#define FORGETS_OTHERS 3 /* a waiter that takes the mutex does not show that others sleep */
#define LEAVES_DUTY 4    /* a waiter that was woken and gives up does not show that others sleep */
#define BLIND_CHANGE 5   /* a waiter that settles changes the byte without a comparison */
#define BLIND_SLEEP 6    /* the kernel does not compare the word before a sleep */
#define NO_LAPSE 7       /* a waiter that stands aside for another does so without limit */
#define NO_TOKEN 8       /* a goroutine that gives up does not wait for a token that is sent */
#define LATE_CLEAR 9     /* the bell clears `rung` after its look for goroutines */
#ifndef BROKEN
#define BROKEN 0
#endif

#define FREE 0
#define LOCKED 1
#define RESERVED 2
#define PARKED 3 /* and locked */

/* The two threads come first. */
#define GOROUTINE 2
#define ALL 3
#define NONE 3

mtype = { STAY, LAPSED, LEAVE };
/* Ways to wait: not at all, without limit, for a time, until a handler runs. */
mtype:way = { NO_WAY, TRY, WAIT, TIMED, INTERRUPTIBLE };
#define may_give_up (way == TIMED || way == INTERRUPTIBLE)

byte bits;
bool bucket;            /* a waiter or an unlock is in it */
byte queue[ALL] = NONE; /* in the order in which they came */
bool awake[ALL];        /* the word of a waiter */
bool asleep[ALL];       /* the kernel has put it to sleep */
bool token[ALL], rings_for[ALL];
bool rung, bell_sleeps;

/* Only for the proof: how many have the mutex. */
byte holders;

/* Puts the caller at the end of the queue. */
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

/* Chooses the next byte for the one that was read. */
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

/* mutex_settle. `has` tells whether the caller has the mutex. Each step in the bucket has one access to
   the byte. Everything else there is seen only by those that enter the bucket later. */
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

/* Sleeps, and sets the wish. */
inline sleep()
{
    if
    :: atomic {
           me != GOROUTINE ->
           /* The kernel compares the word and begins the sleep, */
           if
           :: !awake[me] || BROKEN == BLIND_SLEEP -> asleep[me] = true
           :: else
           fi
       }
       /* and the sleep ends in one of these ways. */
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
        /* These do not stand aside for others. A goroutine has done so already. */
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
            :: !rung -> rung = true; has = true
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
       /* This forgets what is not needed any more, so that there are fewer states. */
       atomic { way = NO_WAY; wish = STAY; was_awake = false; aside = false }
       if
       :: has -> unlock()
       :: else
       fi
    od
}

/* mutex_bell, and the goroutine that calls it and sends the tokens. */
proctype bell()
{
    bool found;
    do
    :: if
       :: BROKEN != LATE_CLEAR -> rung = false
       :: else
       fi;
       atomic { found = rings_for[GOROUTINE]; rings_for[GOROUTINE] = false }
       if
       :: found -> token[GOROUTINE] = true
       :: else ->
           if
           :: BROKEN == LATE_CLEAR -> rung = false
           :: else
           fi;
           atomic {
               if
               :: !rung -> bell_sleeps = true
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

/* The rules of pylock.c. A fork may leave the byte PARKED or RESERVED although there are no waiters. */
bool is_forks = false;

proctype watch()
{
end:
    atomic {
        !bucket && !is_forks &&
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
        :: bits = RESERVED; is_forks = true
        :: bits = LOCKED; holders = 1
        :: bits = PARKED; holders = 1; is_forks = true
        fi;
        run waiter(0, holders == 1);
        run waiter(1, false);
        run waiter(GOROUTINE, false);
        run bell();
        run watch()
    }
}
