package pythread

import (
	"fmt"
	"testing"
)

// BenchmarkTSS is one Get or Set of a thread's value, with as many keys in use
// as the name says.
func BenchmarkTSS(b *testing.B) {
	for _, n := range []int{1, 1000, 100_000} {
		StartWith(func(h *Handle) {
			keys := make([]TSS[*int], n)
			for i := range keys {
				keys[i].Set(h, new(int))
			}
			b.Run(fmt.Sprintf("Get/%d", n), func(b *testing.B) {
				for i := range b.N {
					keys[i%n].Get(h)
				}
			})
			b.Run(fmt.Sprintf("Set/%d", n), func(b *testing.B) {
				for i := range b.N {
					keys[i%n].Set(h, nil)
				}
			})
		}).Join()
	}
}
