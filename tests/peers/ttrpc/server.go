package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const service = "test.Echo"

type unmarshal = func(interface{}) error

func say(_ context.Context, read unmarshal) (interface{}, error) {
	var request wrapperspb.StringValue
	if err := read(&request); err != nil {
		return nil, err
	}
	return &request, nil
}

// about tells what reached the handler beside the request.
func about(ctx context.Context, read unmarshal) (interface{}, error) {
	var request wrapperspb.StringValue
	if err := read(&request); err != nil {
		return nil, err
	}
	var pairs []string
	metadata, _ := ttrpc.GetMetadata(ctx)
	for key, values := range metadata {
		for _, value := range values {
			pairs = append(pairs, key+"="+value)
		}
	}
	sort.Strings(pairs)
	left := "None"
	if deadline, ok := ctx.Deadline(); ok {
		left = fmt.Sprint(int(time.Until(deadline).Round(time.Second).Seconds()))
	}
	return wrapperspb.String(fmt.Sprintf("/%s/Context %s %s", service, strings.Join(pairs, ","), left)), nil
}

func block(ctx context.Context, read unmarshal) (interface{}, error) {
	var request wrapperspb.StringValue
	if err := read(&request); err != nil {
		return nil, err
	}
	fmt.Println("started", request.Value)
	<-ctx.Done()
	return nil, ctx.Err()
}

func fail(_ context.Context, read unmarshal) (interface{}, error) {
	var request wrapperspb.StringValue
	if err := read(&request); err != nil {
		return nil, err
	}
	switch request.Value {
	case "status":
		return nil, status.Error(codes.NotFound, "no such thing")
	case "not-exist":
		return nil, os.ErrNotExist
	}
	return nil, errors.New(request.Value)
}

func big(_ context.Context, read unmarshal) (interface{}, error) {
	var request wrapperspb.Int64Value
	if err := read(&request); err != nil {
		return nil, err
	}
	return wrapperspb.Bytes(make([]byte, request.Value)), nil
}

func count(_ context.Context, stream ttrpc.StreamServer) (interface{}, error) {
	var request wrapperspb.Int64Value
	if err := stream.RecvMsg(&request); err != nil {
		return nil, err
	}
	for number := int64(0); number < request.Value; number++ {
		if err := stream.SendMsg(wrapperspb.Int64(number)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func fromEmpty(_ context.Context, stream ttrpc.StreamServer) (interface{}, error) {
	if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
		return nil, err
	}
	for _, word := range []string{"one", "two"} {
		if err := stream.SendMsg(wrapperspb.String(word)); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func brokenStream(_ context.Context, stream ttrpc.StreamServer) (interface{}, error) {
	if err := stream.SendMsg(wrapperspb.Int64(1)); err != nil {
		return nil, err
	}
	return nil, status.Error(codes.NotFound, "no more")
}

func total(_ context.Context, stream ttrpc.StreamServer) (interface{}, error) {
	var sum int64
	for {
		var request wrapperspb.Int64Value
		if err := stream.RecvMsg(&request); errors.Is(err, io.EOF) {
			return wrapperspb.Int64(sum), nil
		} else if err != nil {
			return nil, err
		}
		sum += request.Value
	}
}

func echoStream(_ context.Context, stream ttrpc.StreamServer) (interface{}, error) {
	for {
		var request wrapperspb.StringValue
		if err := stream.RecvMsg(&request); errors.Is(err, io.EOF) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		if err := stream.SendMsg(&request); err != nil {
			return nil, err
		}
	}
}

func stuck(ctx context.Context, _ ttrpc.StreamServer) (interface{}, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func firstOnly(_ context.Context, stream ttrpc.StreamServer) (interface{}, error) {
	var request wrapperspb.StringValue
	if err := stream.RecvMsg(&request); err != nil {
		return nil, err
	}
	return nil, stream.SendMsg(&request)
}

var description = &ttrpc.ServiceDesc{
	Methods: map[string]ttrpc.Method{
		"Say": say, "Context": about, "Block": block, "Fail": fail, "Big": big,
		"Nothing": func(context.Context, func(interface{}) error) (interface{}, error) { return nil, nil },
	},
	Streams: map[string]ttrpc.Stream{
		"Count":        {Handler: count, StreamingServer: true},
		"FromEmpty":    {Handler: fromEmpty, StreamingServer: true},
		"BrokenStream": {Handler: brokenStream, StreamingServer: true},
		"Total":        {Handler: total, StreamingClient: true},
		"EchoStream":   {Handler: echoStream, StreamingClient: true, StreamingServer: true},
		"Stuck":        {Handler: stuck, StreamingClient: true, StreamingServer: true},
		"FirstOnly":    {Handler: firstOnly, StreamingClient: true, StreamingServer: true},
	},
}

func serve(address string) error {
	server, err := ttrpc.NewServer(ttrpc.WithServerHandshaker(ttrpc.UnixSocketRequireSameUser()))
	if err != nil {
		return err
	}
	server.RegisterService(service, description)
	listener, err := net.Listen("unix", address)
	if err != nil {
		return err
	}
	go func() {
		commands := bufio.NewScanner(os.Stdin)
		for commands.Scan() {
			if commands.Text() == "shutdown" {
				fmt.Println("shutdown", server.Shutdown(context.Background()))
			}
		}
		_ = server.Close()
	}()
	fmt.Println("serving")
	err = server.Serve(context.Background(), listener)
	if errors.Is(err, ttrpc.ErrServerClosed) {
		return nil
	}
	return err
}
