// etcd, for whoever wants Kubernetes' usual store under the tests rather than kine.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
