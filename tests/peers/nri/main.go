// nripeer is a container runtime as an NRI plugin sees one: containerd/nri's own adaptation package, and a world of pods
// and containers that exist in words only. `nripeer CONTROL SOCKET` serves commands, one JSON object a line, on the
// unix socket CONTROL, and plugins on SOCKET once told to start.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

// command is what a test asks for; which fields count depends on Do.
type command struct {
	Do         string
	ID         string
	Pod        string
	Namespace  string
	UID        string
	Container  string
	Labels     map[string]string
	Adj        *int64
	Path       string
	Unified    map[string]string
	Pid        uint32
	Pods       int
	Containers int
	Bytes      int
	Plugins    int
	Times      int
	Index      string
	Millis     int
	Version    string
}

// answer is what came of it.
type answer struct {
	Error       string            `json:"error,omitempty"`
	Adj         *int64            `json:"adj,omitempty"`
	Path        string            `json:"path,omitempty"`
	Unified     map[string]string `json:"unified,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Micros      []int64           `json:"micros,omitempty"`
	Calls       map[string]int    `json:"calls,omitempty"`
}

// runtime is the world, and what the adaptation tells of its plugins.
type runtime struct {
	sync.Mutex
	changed    *sync.Cond
	socket     string
	nri        *adaptation.Adaptation
	pods       []*api.PodSandbox
	containers []*api.Container
	plugins    int
	calls      map[string]int
}

func (r *runtime) RecordPluginInvocation(plugin, operation string, _ error) {
	r.Lock()
	defer r.Unlock()
	r.calls[plugin+" "+operation]++
}
func (r *runtime) RecordPluginLatency(string, string, time.Duration) {}
func (r *runtime) RecordPluginAdjustments(string, string, *api.ContainerAdjustment, int, int) {
}
func (r *runtime) UpdatePluginCount(count int) {
	r.Lock()
	defer r.Unlock()
	r.plugins = count
	r.changed.Broadcast()
}

func (r *runtime) start(version string) error {
	synchronize := func(ctx context.Context, tell adaptation.SyncCB) error {
		_, err := tell(ctx, r.pods, r.containers)
		return err
	}
	update := func(context.Context, []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) { return nil, nil }
	nri, err := adaptation.New("nripeer", version, synchronize, update,
		adaptation.WithSocketPath(r.socket), adaptation.WithPluginPath(r.socket+".plugins"),
		adaptation.WithPluginConfigPath(r.socket+".conf"), adaptation.WithMetrics(r))
	if err != nil {
		return err
	}
	r.nri = nri
	adaptation.SetPluginRegistrationTimeout(time.Minute) // the tests' machine may be busy: by default 5 s
	return nri.Start()
}

func (r *runtime) fill(c command) {
	r.pods, r.containers = nil, nil
	fat := map[string]string{"fat": strings.Repeat("x", c.Bytes)}
	for at := range c.Pods {
		r.pods = append(r.pods, &api.PodSandbox{
			Id: fmt.Sprintf("pod-%d", at), Uid: fmt.Sprintf("uid-%d", at), Name: fmt.Sprintf("name-%d", at), Namespace: "full",
			Linux: &api.LinuxPodSandbox{CgroupParent: "/kubepods/burstable/poduid"},
		})
	}
	for at := range c.Containers {
		r.containers = append(r.containers, &api.Container{
			Id: fmt.Sprintf("container-%d", at), PodSandboxId: fmt.Sprintf("pod-%d", at%max(c.Pods, 1)),
			Name: "main", Annotations: fat, State: api.ContainerState_CONTAINER_RUNNING,
			Linux: &api.LinuxContainer{OomScoreAdj: api.Int(985)},
		})
	}
}

func (r *runtime) wait(plugins int) {
	r.Lock()
	defer r.Unlock()
	for r.plugins != plugins {
		r.changed.Wait()
	}
}

func (c command) pod() *api.PodSandbox {
	return &api.PodSandbox{
		Id: "sandbox-" + c.UID, Uid: c.UID, Name: c.Pod, Namespace: c.Namespace, Labels: c.Labels,
		Linux: &api.LinuxPodSandbox{CgroupParent: "/kubepods/burstable/pod" + c.UID},
	}
}

func (c command) container() *api.Container {
	made := &api.Container{
		Id: c.ID, PodSandboxId: "sandbox-" + c.UID, Name: c.Container, Args: []string{"/bin/server"}, Pid: c.Pid,
		Env: []string{"A=B"}, Mounts: []*api.Mount{{Destination: "/data", Source: "/srv", Type: "bind"}},
		Linux: &api.LinuxContainer{CgroupsPath: c.Path, Resources: &api.LinuxResources{Unified: c.Unified}},
	}
	if c.Adj != nil {
		made.Linux.OomScoreAdj = &api.OptionalInt{Value: *c.Adj}
	}
	return made
}

// create asks the plugins as a runtime does, and says what the container would be created with.
func (r *runtime) create(ctx context.Context, c command) answer {
	var said answer
	for range max(c.Times, 1) {
		began := time.Now()
		reply, err := r.nri.CreateContainer(ctx, &api.CreateContainerRequest{Pod: c.pod(), Container: c.container()})
		said.Micros = append(said.Micros, time.Since(began).Microseconds())
		if err != nil {
			return answer{Error: err.Error()}
		}
		adjust := reply.GetAdjust()
		if adj := adjust.GetLinux().GetOomScoreAdj(); adj != nil {
			said.Adj = &adj.Value
		}
		said.Path = adjust.GetLinux().GetCgroupsPath()
		said.Unified = adjust.GetLinux().GetResources().GetUnified()
		said.Annotations = adjust.GetAnnotations()
	}
	return said
}

func (r *runtime) serve(ctx context.Context, c command) answer {
	var err error
	pod, container := c.pod(), c.container()
	switch c.Do {
	case "fill":
		r.fill(c)
	case "start":
		err = r.start(c.Version)
	case "stop":
		r.nri.Stop()
		r.UpdatePluginCount(0)
	case "timeout":
		adaptation.SetPluginRequestTimeout(time.Duration(c.Millis) * time.Millisecond)
	case "wait":
		r.wait(c.Plugins)
	case "create":
		return r.create(ctx, c)
	case "run_pod":
		err = r.nri.RunPodSandbox(ctx, &api.RunPodSandboxRequest{Pod: pod})
	case "remove_pod":
		err = r.nri.RemovePodSandbox(ctx, &api.RemovePodSandboxRequest{Pod: pod})
	case "started":
		err = r.nri.PostStartContainer(ctx, &api.PostStartContainerRequest{Pod: pod, Container: container})
	case "stop_container":
		_, err = r.nri.StopContainer(ctx, &api.StopContainerRequest{Pod: pod, Container: container})
	case "remove":
		err = r.nri.RemoveContainer(ctx, &api.RemoveContainerRequest{Pod: pod, Container: container})
	case "rival":
		err = rival(ctx, r.socket, c)
	case "calls":
		r.Lock()
		defer r.Unlock()
		return answer{Calls: maps.Clone(r.calls)}
	default:
		err = fmt.Errorf("no command %s", c.Do)
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{}
}

// setter is another plugin, that sets every container's oom_score_adj.
type setter struct{ adj int64 }

func (s *setter) CreateContainer(context.Context, *api.PodSandbox, *api.Container) (
	*api.ContainerAdjustment, []*api.ContainerUpdate, error,
) {
	value := int(s.adj)
	adjust := &api.ContainerAdjustment{}
	adjust.SetLinuxOomScoreAdj(&value)
	return adjust, nil, nil
}

func rival(ctx context.Context, socket string, c command) error {
	plugin, err := stub.New(&setter{*c.Adj}, stub.WithPluginName("rival"), stub.WithPluginIdx(c.Index),
		stub.WithSocketPath(socket), stub.WithOnClose(func() {}))
	if err != nil {
		return err
	}
	return plugin.Start(ctx)
}

func run(control, socket string) error {
	r := &runtime{socket: socket, calls: map[string]int{}}
	r.changed = sync.NewCond(&r.Mutex)
	listener, err := net.Listen("unix", control)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	connection, err := listener.Accept()
	if err != nil {
		return err
	}
	lines, say := bufio.NewScanner(connection), json.NewEncoder(connection)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return err
		}
		if err := say.Encode(r.serve(context.Background(), c)); err != nil {
			return err
		}
	}
	return lines.Err()
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: nripeer CONTROL SOCKET")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "nripeer:", err)
		os.Exit(1)
	}
}
