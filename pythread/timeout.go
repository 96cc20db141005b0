package pythread

import (
	"math"
	"time"
)

// TimeoutMax is the longest timeout in microseconds that a timed acquire
// takes, about 292 years: the most whose nanoseconds still fit an int64, so
// that TimeoutMax*1000 never overflows.
//
// It mirrors PY_TIMEOUT_MAX as CPython has it on POSIX systems.
const TimeoutMax int64 = math.MaxInt64 / 1000

// unsetTimeout is what a blocking call without a timeout gets. Its exact value
// is CPython's PyThread_UNSET_TIMEOUT; what counts is that it is negative.
const unsetTimeout = -time.Second

// TimeoutError is the reason why [ParseTimeout] refuses a timeout. Its values
// are the constants below, to be compared directly or with errors.Is.
type TimeoutError int

// Why a timeout is refused. In CPython TimeoutTooLarge is an OverflowError,
// the others are a ValueError.
const (
	// TimeoutNonBlocking: a call that does not wait was given a timeout.
	TimeoutNonBlocking TimeoutError = iota + 1
	// TimeoutNegative: the timeout is below zero, negative infinity included.
	TimeoutNegative
	// TimeoutTooLarge: the timeout's nanoseconds do not fit an int64; so it is
	// with positive infinity.
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

// ParseTimeout turns the arguments of a Python call that may wait, its
// timeout in seconds (nil for none) and whether it is to block, into a
// duration for [Lock.AcquireWithRetries]: negative to wait for ever, zero to
// try once, positive to wait that long. A blocking call without a timeout
// gives -1 s, a non-blocking one gives 0. Fractions of a nanosecond count as
// a whole one, so that no wait is shorter than asked for and no tiny timeout
// turns into a try.
//
// The error is nil or a [TimeoutError]; the duration is then 0. ParseTimeout
// never blocks and is safe for concurrent use.
//
// It mirrors PyThread_ParseTimeoutArg (3.13), with one difference: CPython
// calls a negative timeout that is out of range too large, not negative.
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
	// The greatest float64 below 2^63 is 2^63-1024, which TimeoutMax covers:
	// what fits an int64 here needs no second test against TimeoutMax.
	ns := math.Ceil(*seconds * float64(time.Second))
	if ns >= 1<<63 {
		return 0, TimeoutTooLarge
	}
	return time.Duration(ns), nil
}
