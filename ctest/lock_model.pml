/*
 * lock_model.pml - the word of a lock (capi/lock.c) and the kernel's futex, in
 * Promela, for spin to try every interleaving of three threads. Each acquires
 * and releases as often as it likes, in any of the ways to wait. They begin
 * with a free lock, or with any word that a fork may leave behind. What is
 * advice in lock.c is left out, since any value of it has to do: whether a
 * release hands over is a free choice, and a spin is no more than an acquire
 * that comes later.
 *
 * Invariants: no two threads hold the lock; while one sleeps, the word gets it
 * woken, or somebody is awake who will see to it; and none sleeps when all is
 * over, which is what spin calls an invalid end state.
 *
 * BROKEN may be defined as one of these mistakes, for spin to find.
 */
#define NO_WAKE 1        /* a release wakes nobody */
#define FORGETS_OTHERS 2 /* who has slept takes the lock as if nobody else did */
#define NO_MARK 3        /* who finds the lock held sleeps without saying so */
#define BLIND_SLEEP 4    /* the kernel puts to sleep without comparing the word */
#define BLIND_TAKE 5     /* a free lock is taken without comparing the word */
#define BLIND_END 6      /* who is woken as its time ends does not look at the word again */
#define NO_LAPSE 7       /* who stands aside for another does so for ever */
#ifndef BROKEN
#define BROKEN 0
#endif


mtype:word = { FREE, HELD, CONTENDED, RESERVED };
/* Ways to wait: not at all, for ever, for ever in spite of handlers that run, for ever but for a
   handler, for a time. */
mtype:way = { NONE, TRY, WAIT, RESUME, INTERRUPTIBLE, TIMED };
/* What the kernel knows of a thread: ASIDE sleeps on RESERVED, with a deadline of its own. */
mtype:kernel = { AWAKE, ASLEEP, ASIDE };

mtype:word word;
mtype:kernel kernel[3] = AWAKE;

/* Known to the proof alone: how many hold the lock, how many are between the end of CONTENDED and
   the wake-up that follows, and whether a thread was woken, or kept awake, to look at the word. */
byte holders;
byte wakers;
bool looks[3];
bool a_sleeper_is_forgotten;

/* Every atomic step below has one access of lock.c or the kernel to the word, or one of the kernel
   to the threads; what else is in it concerns the thread alone. */

/* Compare and exchange of what was seen, which is what is there when it fails. */
inline exchange(to)
{
    done = word == seen || (BROKEN == BLIND_TAKE && seen == FREE);
    if
    :: done -> word = to; looks[me] = false
    :: else -> seen = word
    fi
}

inline take(to)
{
    exchange(to);
    if
    :: done -> assert(holders == 0); holders++
    :: else
    fi
}

inline wait_asleep()
{
    atomic { entitled = way == INTERRUPTIBLE; seen = word }
    do
    :: atomic {
           seen == FREE || (seen == RESERVED && entitled) ->
           take((BROKEN == FORGETS_OTHERS -> HELD : CONTENDED));
           if
           :: done -> break
           :: else
           fi
       }
    :: atomic {
           !(seen == FREE || (seen == RESERVED && entitled)) && over ->
           looks[me] = false; done = false; break
       }
    :: atomic {
           seen == HELD && !over && BROKEN != NO_MARK ->
           exchange(CONTENDED);
           if
           :: done -> seen = CONTENDED
           :: else
           fi
       }
    :: atomic {
           (seen == CONTENDED || (seen == HELD && BROKEN == NO_MARK) ||
            (seen == RESERVED && !entitled)) && !over ->
           entitled = true;
           /* os_wait compares and sleeps, */
           if
           :: word == seen || BROKEN == BLIND_SLEEP ->
               kernel[me] = (seen == RESERVED -> ASIDE : ASLEEP); looks[me] = false
           :: else -> looks[me] = true
           fi
       }
       /* wakes up in one of these ways, */
       if
       :: kernel[me] == AWAKE -> over = BROKEN == BLIND_END && way == TIMED
       :: atomic { kernel[me] == ASIDE && BROKEN != NO_LAPSE -> kernel[me] = AWAKE; looks[me] = true }
       :: atomic { kernel[me] != AWAKE && way == RESUME -> kernel[me] = AWAKE }
       :: atomic {
              kernel[me] != AWAKE && (way == INTERRUPTIBLE || way == TIMED) ->
              kernel[me] = AWAKE; over = true
          }
       fi;
       /* and reads the word. */
       seen = (BROKEN == BLIND_END && over -> HELD : word)
    od
}

inline acquire()
{
    atomic {
        if
        :: way = TRY
        :: way = WAIT
        :: way = RESUME
        :: way = INTERRUPTIBLE
        :: way = TIMED
        fi;
        seen = FREE;
        take(HELD)
    }
    if
    :: done
    :: !done && way != TRY -> wait_asleep()
    :: atomic { !done && way == TRY && seen == RESERVED -> take(CONTENDED) }
    :: !done && way == TRY && seen != RESERVED
    fi
}

inline wake()
{
    wakers--;
    if
    :: BROKEN != NO_WAKE && kernel[0] != AWAKE -> kernel[0] = AWAKE; looks[0] = true
    :: BROKEN != NO_WAKE && kernel[1] != AWAKE -> kernel[1] = AWAKE; looks[1] = true
    :: BROKEN != NO_WAKE && kernel[2] != AWAKE -> kernel[2] = AWAKE; looks[2] = true
    :: else
    fi
}

inline release()
{
    if
    :: atomic { word == HELD -> holders--; word = FREE }
    :: atomic {
           word != HELD -> assert(word == CONTENDED); holders--; wakers++;
           if
           :: word = FREE
           :: word = RESERVED
           fi
       }
       atomic { wake() }
    fi
}

proctype thread(byte me; bool holds)
{
    mtype:way way = NONE;
    mtype:word seen = FREE;
    bool done, entitled, over;
    if
    :: holds -> release()
    :: else
    fi;
    do
    :: break
    :: acquire();
       /* What is not needed any more is forgotten, for there to be fewer states. */
       way = NONE; seen = FREE; entitled = false; over = false;
       if
       :: done -> done = false; release()
       :: else
       fi
    od
}

#define asleep(i) (kernel[i] == ASLEEP)
#define sees_to_it(i) (kernel[i] == ASIDE || looks[i])

proctype watch()
{
end:
    atomic {
        (asleep(0) || asleep(1) || asleep(2)) && word != CONTENDED && wakers == 0 &&
        !(sees_to_it(0) || sees_to_it(1) || sees_to_it(2)) ->
        a_sleeper_is_forgotten = true;
        assert(!a_sleeper_is_forgotten)
    }
}

init
{
    atomic {
        if
        :: word = FREE
        :: word = RESERVED
        :: word = HELD; holders = 1
        :: word = CONTENDED; holders = 1
        fi;
        run thread(0, holders == 1);
        run thread(1, false);
        run thread(2, false);
        run watch()
    }
}
