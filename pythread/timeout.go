package pythread

import (
	"math"
	"time"
)

// TimeoutMax is the longest timeout of a timed acquire, in microseconds: about
// 292 years. It is the largest number for which TimeoutMax*1000, the timeout in
// nanoseconds, does not overflow an int64.
//
// It mirrors PY_TIMEOUT_MAX as CPython has it on POSIX systems.
const TimeoutMax int64 = math.MaxInt64 / 1000

// microseconds returns the timeout of a timed acquire. It is negative if us is: then
// the wait has no limit.
func microseconds(us int64) time.Duration {
	return time.Duration(min(max(us, -1), TimeoutMax)) * time.Microsecond
}

// unsetTimeout is the timeout of a blocking call without a timeout. Any negative
// value would do; this one is CPython's PyThread_UNSET_TIMEOUT.
const unsetTimeout = -time.Second

// TimeoutError is the reason why [ParseTimeout] refuses a timeout. Its values
// are the constants below; compare with == or with errors.Is.
//
// It stands for the ValueError or OverflowError that CPython's
// PyThread_ParseTimeoutArg (3.13) sets.
type TimeoutError int

// Why a timeout is refused. In CPython TimeoutTooLarge is an OverflowError,
// the others are a ValueError.
const (
	// TimeoutNonBlocking: a call that does not wait has a timeout.
	TimeoutNonBlocking TimeoutError = iota + 1
	// TimeoutNegative: the timeout is below zero, or negative infinity.
	TimeoutNegative
	// TimeoutTooLarge: the timeout in nanoseconds does not fit an int64, or is
	// positive infinity.
	TimeoutTooLarge
	// TimeoutNaN: the timeout is not a number.
	TimeoutNaN
)

// Error describes the reason in a few words.
func (e TimeoutError) Error() string {
	switch e {
	case TimeoutNonBlocking:
		return "pythread: timeout given to a non-blocking call"
	case TimeoutNegative:
		return "pythread: timeout is negative"
	case TimeoutTooLarge:
		return "pythread: timeout is too large"
	case TimeoutNaN:
		return "pythread: timeout is not a number"
	}
	return "pythread: invalid timeout"
}

// ParseTimeout reads the two arguments of a Python function that may wait: the
// timeout in seconds, nil if there is none, and whether to block. It returns a
// duration for [Lock.AcquireWithRetries]: negative to wait for ever, zero to
// try once, positive to wait that long. The result is -1 s for a blocking call
// without a timeout, and 0 for a non-blocking call. A fraction of a nanosecond is
// rounded up. So no wait is shorter than the caller asked for, and the shortest
// timeout is still a wait.
//
// The error is nil or a [TimeoutError]. With an error the duration is 0.
// ParseTimeout never blocks and is safe for concurrent use.
//
// It mirrors PyThread_ParseTimeoutArg (3.13), with one difference: if a
// negative timeout is out of range, CPython says that it is too large.
func ParseTimeout(seconds *float64, blocking bool) (time.Duration, error) {
	switch {
	case seconds == nil && blocking:
		return unsetTimeout, nil
	case seconds == nil:
		return 0, nil
	case !blocking:
		return 0, TimeoutNonBlocking
	case math.IsNaN(*seconds):
		return 0, TimeoutNaN
	case *seconds < 0:
		return 0, TimeoutNegative
	}
	// The greatest float64 below 2^63 is 2^63-1024, and TimeoutMax microseconds
	// are longer. So a value that fits an int64 needs no second test.
	ns := math.Ceil(*seconds * float64(time.Second))
	if ns >= 1<<63 {
		return 0, TimeoutTooLarge
	}
	return time.Duration(ns), nil
}
