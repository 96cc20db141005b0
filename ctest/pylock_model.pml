/*
 * pylock_model.pml - the byte of a mutex, the parking lot (capi/pylock.c), futexes and
 * the bell of goroutines (capi/mutex.go), in Promela, for spin to try every interleaving
 * of two threads and a goroutine. Each thread locks and unlocks once, or not at all, and
 * the goroutine twice: the second time with what the first wait has left. One thread
 * waits for ever, the others in any of their ways. They begin with a free mutex, or with
 * any byte that a fork may leave behind. What is advice in pylock.c is left out, since any
 * value of it has to do: whether an unlock reserves the byte is a free choice, and a spin
 * is no more than a lock that comes later.
 *
 * Invariants: no two hold the mutex; the rules of pylock.c hold whenever nobody is in the
 * bucket; a goroutine begins no wait with a token of an earlier one; and none sleeps when
 * all is over, which is what spin calls an invalid end state.
 *
 * BROKEN may be defined as one of these mistakes, for spin to find.
 */
#define NO_WAKE 1        /* an unlock wakes nobody */
#define NO_MARK 2        /* who goes to sleep does not say so in the byte */
#define FORGETS_OTHERS 3 /* who was woken and has the lock does not say that others sleep */
#define LEAVES_DUTY 4    /* who gives up when it was woken does not see to the others */
#define BLIND_CHANGE 5   /* who settles changes the byte without comparing it */
#define BLIND_SLEEP 6    /* the kernel puts to sleep without comparing the word */
#define NO_LAPSE 7       /* who stands aside for another does so for ever */
#define NO_TOKEN 8       /* a goroutine that gives up does not wait for a token on its way */
#define LATE_CLEAR 9     /* the bell says that it sleeps after its look for goroutines */
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
mtype:way = { NO_WAY, TRY, WAIT, GIVE_UP };

byte bits;
bool bucket;            /* somebody is in it */
byte queue[ALL] = NONE; /* in the order in which they came */
bool awake[ALL];        /* the word of a waiter */
bool asleep[ALL];       /* in the kernel, at its word */
bool token[ALL], rings_for[ALL];
bool rung, bell_sleeps;

/* Known to the proof alone. */
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

/* What the byte is to be, from what it was. */
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

/* mutex_settle: has is whether the caller got the lock. The steps in the bucket have one access to
   the byte each: all else is seen by those alone that come into the bucket later. */
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
           /* The kernel compares and puts to sleep, */
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
           :: way == GIVE_UP && asleep[me] -> asleep[me] = false; wish = LEAVE
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
           :: way == GIVE_UP -> wish = LEAVE
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
        :: me != 0 -> way = GIVE_UP
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
        /* A goroutine has stood aside before. */
        wish = (me == GOROUTINE -> LAPSED : STAY);
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
       /* What is not needed any more is forgotten, for there to be fewer states. */
       atomic { way = NO_WAY; wish = STAY; was_awake = false; aside = false }
       if
       :: has -> unlock()
       :: else
       fi
    od
}

/* mutex_bell, with the goroutine that goes back to Go with those to be woken. */
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

/* The rules of pylock.c. A byte that a fork has left may be PARKED or RESERVED without waiters. */
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
