// How CoreDNS is started, and which of its plugins are there.

package main

import (
	"flag"

	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/template"
)

// corednsFlags are the flags that CoreDNS registers, in the set of all packages of this binary.
var corednsFlags = []string{"conf", "dns.port", "p", "pidfile", "plugins", "quiet", "version"}

// runCoreDNS does what its main function does, without the flags of other packages.
func runCoreDNS() int {
	own := flag.NewFlagSet("coredns", flag.ExitOnError)
	for _, name := range corednsFlags {
		if registered := flag.Lookup(name); registered != nil {
			own.Var(registered.Value, registered.Name, registered.Usage)
		}
	}
	flag.CommandLine = own
	coremain.Run()
	return 0
}
