package main

import (
	"context"

	"github.com/spf13/cobra"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// newKubelet is in a file of its own because the oldest Kubernetes (hyperkube-oldest) has another signature.
func newKubelet() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }
