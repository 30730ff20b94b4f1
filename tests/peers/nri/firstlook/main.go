// firstlook is what test containers run: it says with what it was born, and stays until it is told to end.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	adj, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		adj = []byte(err.Error())
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		groups = []byte(err.Error())
	}
	fmt.Printf("born oom_score_adj=%s cgroup=%s\n", strings.TrimSpace(string(adj)),
		strings.ReplaceAll(strings.TrimSpace(string(groups)), "\n", " "))
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	<-told
}
