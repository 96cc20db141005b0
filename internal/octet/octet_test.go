//go:build !race

package octet

import (
	"sync"
	"testing"
)

func TestCompareAndSwapChangesItsByteAlone(t *testing.T) {
	for i := range 8 {
		bytes := [8]uint8{10, 11, 12, 13, 14, 15, 16, 17}
		want := bytes
		b := &bytes[i]
		if CompareAndSwap(b, *b+1, 200) || bytes != want {
			t.Errorf("byte %d: swapped from another value: %v", i, bytes)
		}
		want[i] = 200
		if !CompareAndSwap(b, *b, 200) || bytes != want || Load(b) != 200 {
			t.Errorf("byte %d: %v, want %v", i, bytes, want)
		}
		want[i] = 0
		if !CompareAndSwap(b, 200, 0) || bytes != want || Load(b) != 0 {
			t.Errorf("byte %d: %v, want %v", i, bytes, want)
		}
	}
}

func TestNoWriteToANeighbourIsLost(t *testing.T) {
	const rounds = 100_000
	var bytes [4]uint8 // the first two by swaps, the others by plain writes
	var all sync.WaitGroup
	for i := range bytes {
		all.Add(1)
		go func() {
			defer all.Done()
			for range rounds {
				if i >= 2 {
					bytes[i]++
				} else if b := Load(&bytes[i]); !CompareAndSwap(&bytes[i], b, b+1) {
					t.Errorf("byte %d was changed by another", i)
				}
			}
		}()
	}
	all.Wait()
	for i, b := range bytes {
		if want := uint8(rounds % 256); b != want {
			t.Errorf("byte %d is %d, want %d", i, b, want)
		}
	}
}
