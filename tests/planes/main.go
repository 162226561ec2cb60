// Command planes is what tests need beside the control plane itself, in one binary:
//
//	planes kubelet|kube-proxy|kwok|kubectl [flags]
//	planes run PROGRAM [argument…]
//
// The control plane is the binary of host/kubernetes, which `planes run` ties to the test. Exactly
// one component is constructed for each process: the Kubernetes commands install process-wide signal
// handlers and feature gates at construction and cannot share a process.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

const usage = "usage: planes kubelet|kube-proxy|kwok|kubectl [flags]\n       planes run PROGRAM [argument…]"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, usage)
		os.Exit(2)
	}
	component := os.Args[1]
	if component == "run" {
		os.Exit(runProgram(os.Args[2:]))
	}
	// Each component parses os.Args by itself and shows argument 0 in its messages.
	os.Args = append([]string{component}, os.Args[2:]...)
	switch component {
	case "kubelet":
		os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background())))
	case "kube-proxy":
		os.Exit(cli.Run(kubeproxy.NewProxyCommand()))
	case "kubectl":
		os.Exit(cli.Run(kubectl.NewDefaultKubectlCommand()))
	case "kwok":
		// component-base registers a --version flag that is not boolean, which kwok's cobra refuses.
		pflag.CommandLine = pflag.NewFlagSet(component, pflag.ContinueOnError)
		os.Exit(runKwok())
	default:
		fmt.Fprintf(os.Stderr, "planes: unknown component %q\n%s\n", component, usage)
		os.Exit(2)
	}
}
