package pythread

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"testing"
	"time"
)

func TestTimeoutMaxIsExactToNanoseconds(t *testing.T) {
	const want = 9223372036854775
	if TimeoutMax != want {
		t.Errorf("TimeoutMax = %d, want %d", TimeoutMax, int64(want))
	}
	microseconds := TimeoutMax // a variable, for the products to be computed
	if microseconds <= 0 {
		t.Error("TimeoutMax is not positive")
	}
	if ns := microseconds * 1000; ns/1000 != microseconds {
		t.Errorf("TimeoutMax*1000 overflows to %d", ns)
	}
	microseconds++
	if ns := microseconds * 1000; ns/1000 == microseconds {
		t.Errorf("TimeoutMax is too small: (TimeoutMax+1)*1000 = %d", ns)
	}
}

func seconds(s float64) *float64 { return &s }

func TestParseTimeout(t *testing.T) {
	for _, c := range []struct {
		seconds  *float64
		blocking bool
		want     time.Duration
		err      error
	}{
		{nil, true, -time.Second, nil},
		{nil, false, 0, nil},

		{seconds(0), true, 0, nil},
		{seconds(math.Copysign(0, -1)), true, 0, nil},
		{seconds(1), true, time.Second, nil},
		{seconds(0.25), true, 250 * time.Millisecond, nil},
		{seconds(1e-9), true, 1, nil},
		{seconds(1e-10), true, 1, nil},
		{seconds(math.SmallestNonzeroFloat64), true, 1, nil},
		{seconds(1.1e-9), true, 2, nil},
		{seconds(0x1p-30), true, 1, nil},
		{seconds(9223372036), true, 9223372036 * time.Second, nil},
		{seconds(9223372036.854774), true, 9223372036854774784, nil},

		{seconds(9223372036.854776), true, 0, TimeoutTooLarge},
		{seconds(9223372037), true, 0, TimeoutTooLarge},
		{seconds(math.MaxFloat64), true, 0, TimeoutTooLarge},
		{seconds(math.Inf(1)), true, 0, TimeoutTooLarge},

		{seconds(-1), true, 0, TimeoutNegative},
		{seconds(-1e-10), true, 0, TimeoutNegative},
		{seconds(-math.SmallestNonzeroFloat64), true, 0, TimeoutNegative},
		{seconds(-math.MaxFloat64), true, 0, TimeoutNegative},
		{seconds(math.Inf(-1)), true, 0, TimeoutNegative},

		{seconds(math.NaN()), true, 0, TimeoutNaN},

		{seconds(0), false, 0, TimeoutNonBlocking},
		{seconds(1), false, 0, TimeoutNonBlocking},
		{seconds(-1), false, 0, TimeoutNonBlocking},
		{seconds(math.NaN()), false, 0, TimeoutNonBlocking},
	} {
		name := "none"
		if c.seconds != nil {
			name = fmt.Sprint(*c.seconds)
		}
		t.Run(fmt.Sprint(name, " ", c.blocking), func(t *testing.T) {
			got, err := ParseTimeout(c.seconds, c.blocking)
			if got != c.want || err != c.err {
				t.Errorf("ParseTimeout() = %d, %v, want %d, %v", got, err, c.want, c.err)
			}
		})
	}
}

func TestTimeoutErrorsAreTyped(t *testing.T) {
	_, err := ParseTimeout(seconds(-1), true)
	var kind TimeoutError
	if err = fmt.Errorf("wrapped: %w", err); !errors.As(err, &kind) || kind != TimeoutNegative {
		t.Errorf("errors.As gives %v", kind)
	}
	if !errors.Is(err, TimeoutNegative) || errors.Is(err, TimeoutTooLarge) {
		t.Error("errors.Is does not tell them apart")
	}
	texts := map[string]bool{}
	for e := TimeoutError(0); e <= TimeoutNaN; e++ {
		texts[e.Error()] = true
	}
	if len(texts) != 5 {
		t.Errorf("texts are not distinct: %v", texts)
	}
}

// FuzzParseTimeout compares it with exact arithmetic.
func FuzzParseTimeout(f *testing.F) {
	for _, s := range []float64{
		0, 1, -1, 0.1, 1e-9, 1e-10, -1e-10, 1.5e9, 9223372036.854774, 9223372036.854776,
		math.Inf(1), math.Inf(-1), math.NaN(), math.MaxFloat64, math.SmallestNonzeroFloat64,
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s float64, blocking bool) {
		got, err := ParseTimeout(&s, blocking)
		if err != nil && got != 0 {
			t.Errorf("ParseTimeout(%v) = %d with error %v", s, got, err)
		}
		var want error
		switch {
		case !blocking:
			want = TimeoutNonBlocking
		case s != s:
			want = TimeoutNaN
		case s < 0:
			want = TimeoutNegative
		case s >= 9223372036.854775807:
			want = TimeoutTooLarge
		}
		if err != want {
			t.Errorf("ParseTimeout(%v) gives error %v, want %v", s, err, want)
		}
		if err != nil {
			return
		}
		// The product is rounded to a float64 before it is rounded up, as in
		// CPython: the result is at most one part in 2^53 below the exact
		// product, and at most one and as much above it.
		exact := new(big.Float).SetPrec(200).Mul(big.NewFloat(s), big.NewFloat(1e9))
		slack := new(big.Float).Mul(exact, big.NewFloat(0x1p-53))
		diff := new(big.Float).Sub(new(big.Float).SetInt64(int64(got)), exact)
		low := new(big.Float).Neg(slack)
		high := new(big.Float).Add(slack, big.NewFloat(1))
		if diff.Cmp(low) < 0 || diff.Cmp(high) > 0 {
			t.Errorf("ParseTimeout(%v) = %d ns, off by %v", s, got, diff)
		}
		// A wait is a try only if the timeout says zero.
		if (got == 0) != (s == 0) {
			t.Errorf("ParseTimeout(%v) = %d ns", s, got)
		}
	})
}
