// The list of components: their names, the modules they come from, and how each is started.

package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// component is one program of the control plane.
type component struct {
	name string
	// module is where its version is read from.
	module string
	// start constructs the program, runs it, and returns its exit code.
	start func() int
}

const (
	moduleOfKubernetes = "k8s.io/kubernetes"
	moduleOfEtcd       = "go.etcd.io/etcd/server/v3"
	moduleOfKine       = "github.com/k3s-io/kine"
	moduleOfCoreDNS    = "github.com/coredns/coredns"
)

var components = []component{
	{"kube-apiserver", moduleOfKubernetes, func() int { return cli.Run(apiserver.NewAPIServerCommand()) }},
	{"kube-controller-manager", moduleOfKubernetes, func() int { return cli.Run(controllermanager.NewControllerManagerCommand()) }},
	{"kube-scheduler", moduleOfKubernetes, func() int { return cli.Run(scheduler.NewSchedulerCommand()) }},
	{"etcd", moduleOfEtcd, runEtcd},
	{"kine", moduleOfKine, runKine},
	{"coredns", moduleOfCoreDNS, runCoreDNS},
}

func find(name string) *component {
	for i := range components {
		if components[i].name == name {
			return &components[i]
		}
	}
	return nil
}

// run starts the component with its own name and flags as arguments; each parses os.Args by itself.
func (c *component) run(arguments []string) int {
	os.Args = append([]string{c.name}, arguments[1:]...)
	return c.start()
}

// runEtcd does what its main function does; a failure ends the process there.
func runEtcd() int {
	etcdmain.Main(os.Args)
	return 0
}
