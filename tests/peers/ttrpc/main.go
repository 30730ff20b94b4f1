// The test peer: containerd/ttrpc's own server and client around the service that the Python tests serve and call.
//
//	ttrpcpeer serve SOCKET     serves until stdin says "shutdown" or "close", or ends
//	ttrpcpeer call SOCKET WHAT runs one scenario against a server and prints what came of it, a line a fact
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: ttrpcpeer serve SOCKET | ttrpcpeer call SOCKET SCENARIO")
		os.Exit(2)
	}
	var err error
	switch os.Args[1] {
	case "serve":
		err = serve(os.Args[2])
	case "call":
		err = call(os.Args[2], os.Args[3])
	}
	if err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}
