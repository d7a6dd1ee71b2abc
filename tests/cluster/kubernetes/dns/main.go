// CoreDNS with the plugins that a test cluster's configuration names, instead of all fifty with what they depend on.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() {
	// In the order in which they answer.
	dnsserver.Directives = []string{"errors", "ready", "kubernetes", "hosts"}
	coremain.Run()
}
