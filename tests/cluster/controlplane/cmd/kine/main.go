// kine's SQLite half: etcd's API on one file, as K3s does it, without the databases and message brokers kine can do too.
//
//	kine HOST:PORT|unix://PATH SQLITE-DSN
package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/drivers/generic"
	_ "github.com/k3s-io/kine/pkg/drivers/sqlite"
	"github.com/k3s-io/kine/pkg/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// What kine and etcd give where nothing else is asked for.
const (
	etcdVersion    = "3.6.11" // old enough for all that kine does, new enough for watch progress notifications
	notifyInterval = 5 * time.Second
	maxRequest     = 2 << 20
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: kine HOST:PORT|unix://PATH SQLITE-DSN")
		os.Exit(2)
	}
	if err := serve(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(address, dsn string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	network, address := "tcp", address
	if path, local := strings.CutPrefix(address, "unix://"); local {
		network, address = "unix", path
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err // left by one that was killed
		}
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	background, end := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	defer writers.Wait()
	defer end()
	_, backend, err := drivers.New(background, &writers, &drivers.Config{
		Endpoint:             "sqlite://" + dsn,
		ConnectionPoolConfig: generic.ConnectionPoolConfig{MaxIdle: 20, MaxIdleTime: 2 * time.Minute},
		CompactTimeout:       5 * time.Second, // when to compact is the API server's business
		CompactMinRetain:     1000,
		CompactBatchSize:     1000,
		PollBatchSize:        500,
	})
	if err != nil {
		return err
	}
	if err := backend.Start(background); err != nil {
		return err
	}
	grpcServer := grpc.NewServer(
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.MaxConcurrentStreams(math.MaxUint32),
	)
	server.New(backend, "http", notifyInterval, etcdVersion).Register(grpcServer)
	go func() {
		<-ctx.Done()
		timer := time.AfterFunc(2*time.Second, grpcServer.Stop)
		defer timer.Stop()
		grpcServer.GracefulStop()
	}()
	if err := grpcServer.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}
