// firstlook is what test containers run: it says with what it was born, the files its arguments name among that, and
// stays until it is told to end.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// in is what a file says, in one line.
func in(path string) string {
	said, err := os.ReadFile(path)
	if err != nil {
		said = []byte(err.Error())
	}
	return strings.ReplaceAll(strings.TrimSpace(string(said)), "\n", " ")
}

func main() {
	fmt.Printf("born oom_score_adj=%s cgroup=%s", in("/proc/self/oom_score_adj"), in("/proc/self/cgroup"))
	for _, path := range os.Args[1:] {
		fmt.Printf(" %s=%s", filepath.Base(path), in(path))
	}
	fmt.Println()
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	<-told
}
