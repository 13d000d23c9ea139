// The workloads for Go: a goroutine per mailbox, a channel of 1,024 each (of 1 in W1: Go allocates the room at once).
//
// "bench WORKLOAD N" runs one workload after a warm-up and prints one line of JSON, as the Rust peers do.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	capacity    = 1024
	producers   = 64
	pairs       = 1000
	ringSize    = 10000
	subscribers = 1000
)

type msg struct{ a, b uint64 }

type report struct {
	Ops            uint64  `json:"ops"`
	Seconds        float64 `json:"seconds"`
	DeliverSeconds float64 `json:"deliver_seconds,omitempty"`
	RssBefore      uint64  `json:"rss_before,omitempty"`
	RssAfter       uint64  `json:"rss_after,omitempty"`
}

func main() {
	workload := os.Args[1]
	n, err := strconv.ParseUint(os.Args[2], 10, 64)
	if err != nil {
		panic(err)
	}
	warmUp := (n + 19) / 20
	if workload == "w1" {
		warmUp = 1000
	}
	measure(workload, warmUp)
	json.NewEncoder(os.Stdout).Encode(measure(workload, n))
}

func measure(workload string, n uint64) report {
	switch workload {
	case "w1":
		return idle(n)
	case "w2":
		return fanIn(1, n)
	case "w3":
		return fanIn(producers, n)
	case "w4":
		return pingPong(1, n)
	case "ask":
		return ask(n)
	case "w5":
		return pingPong(pairs, n)
	case "w6":
		return rings(1, ringSize, n)
	case "w7":
		return fanOut(n)
	}
	panic("unknown workload " + workload)
}

func idle(n uint64) report {
	var waiting, got sync.WaitGroup
	waiting.Add(int(n))
	got.Add(int(n))
	all := make([]chan msg, 0, n)
	before := rss()
	start := time.Now()
	for i := uint64(0); i < n; i++ {
		mailbox := make(chan msg, 1)
		all = append(all, mailbox)
		go func() {
			waiting.Done()
			<-mailbox
			got.Done()
		}()
	}
	waiting.Wait()
	spawned := time.Since(start)
	after := rss()
	start = time.Now()
	for _, mailbox := range all {
		mailbox <- msg{1, 1}
	}
	got.Wait()
	return report{n, spawned.Seconds(), time.Since(start).Seconds(), before, after}
}

func fanIn(senders, n uint64) report {
	each := n / senders
	mailbox := make(chan msg, capacity)
	done := make(chan uint64)
	go sum(mailbox, each*senders, done)
	start := time.Now()
	for s := uint64(0); s < senders; s++ {
		go func() {
			for a := uint64(0); a < each; a++ {
				mailbox <- msg{a, 1}
			}
		}()
	}
	total := <-done
	elapsed := time.Since(start)
	checkSum(total, each, senders)
	return report{Ops: each * senders, Seconds: elapsed.Seconds()}
}

// A pair is a ring of two, a round trip two hops in it.
func pingPong(count, roundTrips uint64) report {
	hops := rings(count, 2, 2*roundTrips/count)
	return report{Ops: hops.Ops / 2, Seconds: hops.Seconds}
}

func rings(count, size, hops uint64) report {
	done := make(chan uint64)
	first := make([]chan msg, count)
	for r := range first {
		members := make([]chan msg, size)
		for i := range members {
			members[i] = make(chan msg, capacity)
		}
		for i := range members {
			go hop(members[i], members[(i+1)%len(members)], done)
		}
		first[r] = members[0]
	}
	start := time.Now()
	for _, mailbox := range first {
		mailbox <- msg{hops, 0}
	}
	total := uint64(0)
	for range first {
		total += <-done
	}
	elapsed := time.Since(start)
	check(total, count*hops)
	return report{Ops: total, Seconds: elapsed.Seconds()}
}

func hop(mailbox, next chan msg, done chan uint64) {
	for m := range mailbox {
		if m.a == 0 {
			done <- m.b
		} else {
			next <- msg{m.a - 1, m.b + 1}
		}
	}
}

type request struct {
	msg   msg
	reply chan msg
}

func ask(n uint64) report {
	mailbox := make(chan request, capacity)
	go func() {
		for r := range mailbox {
			r.reply <- msg{r.msg.a, r.msg.b + 1}
		}
	}()
	done := make(chan uint64)
	start := time.Now()
	go func() {
		total := uint64(0)
		for a := uint64(0); a < n; a++ {
			reply := make(chan msg, 1)
			mailbox <- request{msg{a, 0}, reply}
			m := <-reply
			total += m.a * m.b
		}
		done <- total
	}()
	total := <-done
	elapsed := time.Since(start)
	checkSum(total, n, 1)
	return report{Ops: n, Seconds: elapsed.Seconds()}
}

func fanOut(n uint64) report {
	done := make(chan uint64)
	all := make([]chan msg, subscribers)
	for i := range all {
		all[i] = make(chan msg, capacity)
		go sum(all[i], n, done)
	}
	start := time.Now()
	go func() {
		for a := uint64(0); a < n; a++ {
			for _, mailbox := range all {
				mailbox <- msg{a, 1}
			}
		}
	}()
	total := uint64(0)
	for range all {
		total += <-done
	}
	elapsed := time.Since(start)
	checkSum(total, n, subscribers)
	return report{Ops: n * subscribers, Seconds: elapsed.Seconds()}
}

func sum(mailbox chan msg, n uint64, done chan uint64) {
	total := uint64(0)
	for i := uint64(0); i < n; i++ {
		m := <-mailbox
		total += m.a
	}
	done <- total
}

func checkSum(total, n, times uint64) {
	check(total, times*(n*(n-1)/2))
}

func check(got, expected uint64) {
	if got != expected {
		panic(fmt.Sprintf("%d instead of %d", got, expected))
	}
}

// rss is the resident memory of this process in bytes, 0 where the system does not tell.
func rss() uint64 {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range bytes.Split(status, []byte("\n")) {
		if bytes.HasPrefix(line, []byte("VmRSS:")) {
			kilobytes, _ := strconv.ParseUint(string(bytes.Fields(line)[1]), 10, 64)
			return kilobytes * 1024
		}
	}
	return 0
}
