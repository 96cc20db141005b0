package pythread

import (
	"runtime"
	"strings"
	"time"
)

// A bubble of testing/synctest is a world of its own, with its own time. The
// runtime ends the process where a goroutine uses a channel or a timer that was
// made in another bubble, or wakes another bubble's goroutine. And a goroutine
// that waits for a channel which was made outside keeps its bubble's time from
// going on. So this package makes what a goroutine waits for in the goroutine's
// own bubble, and keeps nothing that was made in a bubble for later use.

// inBubble reports whether the calling goroutine is in a bubble, by what time.Now
// has just told it. In a bubble, and nowhere else, that time has no monotonic
// reading, so that no arithmetic mixes it with times from outside.
func inBubble(now time.Time) bool { return now == now.Round(0) }

// bubble returns what names the bubble of the calling goroutine, to which time.Now
// has just told now, and "" outside of bubbles.
func bubble(now time.Time) string {
	if !inBubble(now) {
		return ""
	}
	// Only a traceback tells, in its first line:
	//
	//	goroutine 7 [running, synctest bubble 3]:
	text := make([]byte, 256)
	line, _, _ := strings.Cut(string(text[:runtime.Stack(text, false)]), "]")
	return line[strings.LastIndex(line, ",")+1:]
}
