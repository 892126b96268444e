// probe is what tests put into pods to see whether the network works: it needs nothing of its image.
//
//	probe serve :PORT TEXT     answers every request with TEXT
//	probe get URL              prints what URL answers; tries for half a minute
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "serve":
		err = http.ListenAndServe(os.Args[2], http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, os.Args[3])
		}))
	case len(os.Args) == 3 && os.Args[1] == "get":
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
			if err = get(os.Args[2]); err == nil || time.Now().After(deadline) {
				break
			}
		}
	default:
		err = fmt.Errorf("usage: probe serve :PORT TEXT | probe get URL")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func get(url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}
