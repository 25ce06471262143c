// Starts a broker with the Kafka module of testcontainers-go: one answer line, and the end of input stops it.
//
// Arguments: the mode, of which there is only "kraft", and the image.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/kafka"
)

func main() {
	input := bufio.NewReader(os.Stdin)
	if _, err := input.ReadString('\n'); err != nil {
		return
	}
	ctx := context.Background()
	container, err := kafka.Run(ctx, os.Args[2])
	// Its shell, the first process of the container, knows no signals; waiting for it is of no use.
	defer testcontainers.TerminateContainer(container, testcontainers.StopTimeout(0))
	if err != nil {
		answer(map[string]string{"error": err.Error()})
		return
	}
	brokers, err := container.Brokers(ctx)
	if err != nil {
		answer(map[string]string{"error": err.Error()})
		return
	}
	answer(map[string]string{"bootstrap": brokers[0]})
	io.Copy(io.Discard, input)
}

func answer(value map[string]string) {
	line, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}
