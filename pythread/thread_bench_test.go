package pythread

import "testing"

func BenchmarkStartJoin(b *testing.B) {
	b.Run("pythread", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for range b.N {
			Start(func() { n++ }).Join()
		}
	})
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for range b.N {
			done := make(chan struct{})
			go func() {
				n++
				close(done)
			}()
			<-done
		}
	})
}
