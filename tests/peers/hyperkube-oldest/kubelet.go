package main

import (
	"github.com/spf13/cobra"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// newKubelet differs from the newest Kubernetes: this version's function takes no context.
func newKubelet() *cobra.Command { return kubelet.NewKubeletCommand() }
