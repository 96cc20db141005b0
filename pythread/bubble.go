package pythread

import (
	"runtime"
	"strings"
	"time"
)

// A bubble of testing/synctest has its own time. The runtime ends the process if a
// goroutine uses a channel or a timer of another bubble, or wakes a goroutine of
// another bubble. And the time of a bubble stands still while one of its goroutines
// waits for a channel that was made outside. So this package makes the channels and
// timers for which a goroutine waits in the goroutine's own bubble. It keeps nothing
// that was made in a bubble for later use.

// inBubble reports whether the calling goroutine, for which time.Now has just
// returned now, is in a bubble. In a bubble, and nowhere else, such a time has no
// monotonic reading.
func inBubble(now time.Time) bool { return now == now.Round(0) }

// bubble returns a name for the bubble of the calling goroutine, for which time.Now
// has just returned now. It returns "" outside of bubbles.
func bubble(now time.Time) string {
	if !inBubble(now) {
		return ""
	}
	// Only a traceback has the bubble's number, in its first line:
	//
	//	goroutine 7 [running, synctest bubble 3]:
	text := make([]byte, 256)
	line, _, _ := strings.Cut(string(text[:runtime.Stack(text, false)]), "]")
	return line[strings.LastIndex(line, ",")+1:]
}
