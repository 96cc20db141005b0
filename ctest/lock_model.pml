/*
 * lock_model.pml - the word of a lock (capi/lock.c) and the kernel's futex, in Promela. spin tries every
 * interleaving of three threads. Each acquires and releases any number of times, with any way to wait.
 * The lock is free at first, or has any word that a fork may leave. The hints of lock.c are left out,
 * because the lock must be correct with any values of them: a release chooses freely whether it hands
 * over, and a spin is only a later acquire.
 *
 * Invariants: at most one thread holds the lock. While a thread sleeps, the word will make a release wake
 * it, or a thread that is awake will wake it. No thread sleeps at the end; spin calls this an invalid end
 * state.
 *
 * BROKEN may be defined as one of these mistakes, which spin must find.
 */
#define NO_WAKE 1        /* a release wakes no thread */
#define FORGETS_OTHERS 2 /* a thread that has slept takes the lock as if no other thread slept */
#define NO_MARK 3        /* a thread that finds the lock held sleeps without CONTENDED */
#define BLIND_SLEEP 4    /* the kernel does not compare the word before a sleep */
#define BLIND_TAKE 5     /* a free lock is taken without a comparison of the word */
#define BLIND_END 6      /* a thread that is woken at the end of its time does not check the word */
#define NO_LAPSE 7       /* a thread that stands aside for another does so without limit */
#ifndef BROKEN
#define BROKEN 0
#endif


mtype:word = { FREE, HELD, CONTENDED, RESERVED };
/* Ways to wait: not at all, without limit, without limit although handlers run, until a handler runs, for
   a time. */
mtype:way = { NONE, TRY, WAIT, RESUME, INTERRUPTIBLE, TIMED };
/* The state of a thread in the kernel. ASIDE sleeps on RESERVED, with a deadline of its own. */
mtype:kernel = { AWAKE, ASLEEP, ASIDE };

mtype:word word;
mtype:kernel kernel[3] = AWAKE;

/* Only for the proof. holders: how many threads hold the lock. wakers: how many are between the end of
   CONTENDED and the wake-up that follows. looks: a thread was woken, or stays awake, to check the word. */
byte holders;
byte wakers;
bool looks[3];
bool a_sleeper_is_forgotten;

/* Every atomic step below has one access of lock.c or the kernel to the word, or one access of the kernel
   to the threads. The rest of a step concerns only its thread. */

/* Compares the word with `seen` and exchanges it, or sets `seen` to the word. */
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
