// Command planes is every program a test control plane needs, in one binary:
//
//	planes etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubelet|kube-proxy|kwok|kubectl [flags]
//	planes run PROGRAM [argument…]
//
// One link instead of eight keeps the build short and lets the processes share pages. Exactly one
// component is constructed for each process: the Kubernetes commands install process-wide signal
// handlers and feature gates at construction and cannot share a process.
package main

import (
	"context"
	"fmt"
	"os"
	_ "time/tzdata" // time zones of CronJobs, on machines without a zone database

	"github.com/spf13/pflag"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

const usage = "usage: planes etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubelet|kube-proxy|kwok|kubectl [flags]\n       planes run PROGRAM [argument…]"

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
	case "etcd":
		os.Exit(runEtcd())
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllermanager.NewControllerManagerCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
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
