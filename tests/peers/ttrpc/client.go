package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

var (
	down = &ttrpc.StreamDesc{StreamingServer: true}
	up   = &ttrpc.StreamDesc{StreamingClient: true}
	both = &ttrpc.StreamDesc{StreamingClient: true, StreamingServer: true}
)

var scenarios = map[string]func(context.Context, *ttrpc.Client) error{
	"unary":      unary,
	"metadata":   metadata,
	"errors":     wrongs,
	"streams":    streams,
	"nulls":      nulls,
	"concurrent": concurrent,
	"oversize":   oversize,
	"deadline":   deadline,
	"unread":     unread,
	"blocked":    blocked,
	"first":      first,
}

func call(address, name string) error {
	scenario, ok := scenarios[name]
	if !ok {
		return fmt.Errorf("no scenario %s", name)
	}
	conn, err := net.Dial("unix", address)
	if err != nil {
		return err
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return scenario(ctx, client)
}

func ask(ctx context.Context, client *ttrpc.Client, method, text string) (string, error) {
	var reply wrapperspb.StringValue
	err := client.Call(ctx, service, method, wrapperspb.String(text), &reply)
	return reply.Value, err
}

func told(err error) string {
	if st, ok := status.FromError(err); ok {
		return fmt.Sprintf("%d %s", st.Code(), st.Message())
	}
	return "error " + err.Error()
}

func unary(ctx context.Context, client *ttrpc.Client) error {
	reply, err := ask(ctx, client, "Say", "hello")
	fmt.Println(reply)
	return err
}

func metadata(ctx context.Context, client *ttrpc.Client) error {
	ctx = ttrpc.WithMetadata(ctx, ttrpc.MD{"key": []string{"a", "b"}})
	reply, err := ask(ctx, client, "Context", "")
	fmt.Println(reply)
	return err
}

func wrongs(ctx context.Context, client *ttrpc.Client) error {
	for _, method := range []string{"NoSuchMethod", "Nothing"} {
		_, err := ask(ctx, client, method, "")
		fmt.Println(told(err))
	}
	err := client.Call(ctx, "no.such.Service", "M", &emptypb.Empty{}, &emptypb.Empty{})
	fmt.Println(told(err))
	_, err = ask(ctx, client, "Fail", "FileNotFoundError('gone')")
	fmt.Println(told(err))
	return nil
}

// drain reads a stream to its end and says how many messages came.
func drain(stream ttrpc.ClientStream, into proto.Message) (int, error) {
	for n := 0; ; n++ {
		if err := stream.RecvMsg(into); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
	}
}

func streams(ctx context.Context, client *ttrpc.Client) error {
	counting, err := client.NewStream(ctx, down, service, "Count", wrapperspb.Int64(30))
	if err != nil {
		return err
	}
	var last wrapperspb.Int64Value
	n, err := drain(counting, &last)
	fmt.Println("count", n, last.Value, err)

	empty, err := client.NewStream(ctx, down, service, "FromEmpty", &emptypb.Empty{})
	if err != nil {
		return err
	}
	n, err = drain(empty, &wrapperspb.StringValue{})
	fmt.Println("from empty", n, err)

	broken, err := client.NewStream(ctx, down, service, "BrokenStream", &emptypb.Empty{})
	if err != nil {
		return err
	}
	n, err = drain(broken, &last)
	fmt.Println("broken", n, told(err))

	adding, err := client.NewStream(ctx, up, service, "Total", nil)
	if err != nil {
		return err
	}
	for number := int64(0); number < 202; number++ {
		if err := adding.SendMsg(wrapperspb.Int64(number)); err != nil {
			return err
		}
	}
	if err := adding.CloseSend(); err != nil {
		return err
	}
	err = adding.RecvMsg(&last)
	fmt.Println("total", last.Value, err)

	echoing, err := client.NewStream(ctx, both, service, "EchoStream", nil)
	if err != nil {
		return err
	}
	for number := 0; number < 50; number++ {
		text, reply := fmt.Sprint(number), wrapperspb.StringValue{}
		if err := echoing.SendMsg(wrapperspb.String(text)); err != nil {
			return err
		}
		if err := echoing.RecvMsg(&reply); err != nil || reply.Value != text {
			return fmt.Errorf("echo %q of %q: %w", reply.Value, text, err)
		}
	}
	if err := echoing.CloseSend(); err != nil {
		return err
	}
	n, err = drain(echoing, &wrapperspb.StringValue{})
	fmt.Println("echo", n, err)
	return nil
}

// nulls has ten senders on one stream of empty messages, each of which is answered by one.
func nulls(ctx context.Context, client *ttrpc.Client) error {
	stream, err := client.NewStream(ctx, both, service, "EchoStream", nil)
	if err != nil {
		return err
	}
	var senders sync.WaitGroup
	for sender := 0; sender < 10; sender++ {
		senders.Add(1)
		go func() {
			defer senders.Done()
			for n := 0; n < 100; n++ {
				_ = stream.SendMsg(&emptypb.Empty{})
			}
		}()
	}
	go func() {
		senders.Wait()
		_ = stream.CloseSend()
	}()
	n, err := drain(stream, &emptypb.Empty{})
	fmt.Println(n, err)
	return nil
}

func concurrent(ctx context.Context, client *ttrpc.Client) error {
	var wait sync.WaitGroup
	wrong := make(chan error, 1000)
	for number := 0; number < 1000; number++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			if reply, err := ask(ctx, client, "Say", fmt.Sprint(number)); err != nil || reply != fmt.Sprint(number) {
				wrong <- fmt.Errorf("%d: %q %w", number, reply, err)
			}
		}()
	}
	wait.Wait()
	fmt.Println("wrong", len(wrong))
	return nil
}

func oversize(ctx context.Context, client *ttrpc.Client) error {
	_, err := ask(ctx, client, "Say", string(make([]byte, 4<<20)))
	fmt.Println(told(err))
	var reply wrapperspb.BytesValue
	err = client.Call(ctx, service, "Big", wrapperspb.Int64(4<<20), &reply)
	fmt.Println(told(err))
	err = client.Call(ctx, service, "Big", wrapperspb.Int64(4<<20-10), &reply)
	fmt.Println(len(reply.Value), err)
	return unary(ctx, client)
}

func deadline(ctx context.Context, client *ttrpc.Client) error {
	soon, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err := ask(soon, client, "Block", "late")
	fmt.Println(errors.Is(err, context.DeadlineExceeded) || status.Code(err) == 4)
	return unary(ctx, client)
}

// unread leaves a stream's answers lying, then makes other calls.
func unread(ctx context.Context, client *ttrpc.Client) error {
	stream, err := client.NewStream(ctx, both, service, "EchoStream", nil)
	if err != nil {
		return err
	}
	for n := 0; n < 10; n++ {
		if err := stream.SendMsg(wrapperspb.String("x")); err != nil {
			return err
		}
	}
	return unary(ctx, client)
}

// first ends on the server before we half-close; what we send then is late, and its refusal is nobody's.
func first(ctx context.Context, client *ttrpc.Client) error {
	stream, err := client.NewStream(ctx, both, service, "FirstOnly", nil)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(wrapperspb.String("x")); err != nil {
		return err
	}
	n, err := drain(stream, &wrapperspb.StringValue{})
	fmt.Println(n, err, stream.SendMsg(wrapperspb.String("y")))
	return unary(ctx, client)
}

// blocked has five calls in progress while the server is told to shut down.
func blocked(ctx context.Context, client *ttrpc.Client) error {
	var wait sync.WaitGroup
	answers := make([]string, 5)
	for number := range answers {
		wait.Add(1)
		go func() {
			defer wait.Done()
			reply, err := ask(ctx, client, "Block", fmt.Sprint(number))
			answers[number] = fmt.Sprint(reply, " ", err)
		}()
	}
	wait.Wait()
	for _, answer := range answers {
		fmt.Println(answer)
	}
	_, err := ask(ctx, client, "Say", "after")
	fmt.Println(told(err))
	return nil
}
