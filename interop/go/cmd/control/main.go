// Controls a test broker over HTTP. Argument: its address, as http://127.0.0.1:8082.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type object = map[string]any

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url string) error {
	if err := call(url, "reset", object{}, nil); err != nil {
		return err
	}
	fault := object{"api": []string{"Produce"}, "topic": "orders", "error": "NOT_LEADER_OR_FOLLOWER", "times": 1}
	if err := call(url, "add_fault", fault, nil); err != nil {
		return err
	}
	var brokers []struct{ Address string }
	if err := call(url, "brokers", object{}, &brokers); err != nil {
		return err
	}
	if err := produce(brokers[0].Address); err != nil {
		return err
	}
	var faults, left []struct{ Fired int }
	if err := call(url, "faults", object{}, &faults); err != nil {
		return err
	}
	var records []struct{ Value string }
	if err := call(url, "records", object{"topic": "orders"}, &records); err != nil {
		return err
	}
	if err := call(url, "reset", object{}, nil); err != nil {
		return err
	}
	if err := call(url, "faults", object{}, &left); err != nil {
		return err
	}
	values := []string{}
	for _, record := range records {
		values = append(values, record.Value)
	}
	return json.NewEncoder(os.Stdout).Encode(object{"fired": faults[0].Fired, "records": values, "left": len(left)})
}

func produce(address string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.AllowAutoTopicCreation())
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return client.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("one")}).FirstErr()
}

// One operation of the API; its arguments and its result are JSON.
func call(url, operation string, arguments object, result any) error {
	body, err := json.Marshal(arguments)
	if err != nil {
		return err
	}
	response, err := http.Post(url+"/v1/"+operation, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", operation, answer)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer, result)
}
