// A registry with TLS that keeps what is pushed in memory: `registry ADDRESS CERTIFICATE KEY`. Prints the address.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	log.Fatal(http.ServeTLS(listener, handler, os.Args[2], os.Args[3]))
}
