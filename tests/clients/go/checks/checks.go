// Package checks runs the cases of one client program: a line for each, and an exit status that is not zero after a
// failure. A case that fails does not stop the ones behind it.
package checks

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// BigBytes is the size of a body that every client sends in parts.
const BigBytes = 20<<20 + 7

// ManyKeys is more than one page of a list and more than one batch of a delete hold.
const ManyKeys = 1001

// OddKeys are names that clients and servers have escaped in different ways.
var OddKeys = []string{
	"odd/sp ace", "odd/pl+us", "odd/ä ö/ü%", "odd/100%25", "odd/q?x=1&y#z", "odd/日本語", "odd/!*'()~", "odd/semi;colon,@$=:",
}

// Endpoint is the server's address with its scheme.
var Endpoint = required("STRATA_ENDPOINT")

// Host is the server's address without its scheme.
var Host = strings.TrimPrefix(Endpoint, "http://")

// AccessKey and SecretKey may do everything.
var AccessKey, SecretKey = required("AWS_ACCESS_KEY_ID"), required("AWS_SECRET_ACCESS_KEY")

func required(name string) string {
	value := os.Getenv(name)
	if value == "" {
		fmt.Printf("%s is not set: tests/clients.sh sets it\n", name)
		os.Exit(2)
	}
	return value
}

// Case is one line of the output.
type Case struct {
	Name string
	Run  func() error
}

// Main runs the cases in their order and ends the program.
func Main(client string, cases []Case) {
	failed := false
	for _, one := range cases {
		if err := one.Run(); err != nil {
			failed = true
			fmt.Printf("FAILED  %s: %s\n        %v\n", client, one.Name, err)
		} else {
			fmt.Printf("ok      %s: %s\n", client, one.Name)
		}
	}
	if failed {
		os.Exit(1)
	}
}

// Random returns a body that no other case has.
func Random(size int) []byte {
	body := make([]byte, size)
	if _, err := rand.Read(body); err != nil {
		panic(err)
	}
	return body
}

// Same compares the bytes of what came back with those that were sent.
func Same(what string, got, sent []byte) error {
	if bytes.Equal(got, sent) {
		return nil
	}
	at := 0
	for at < len(got) && at < len(sent) && got[at] == sent[at] {
		at++
	}
	return fmt.Errorf("%s: %d bytes came back, %d were sent, the first difference is at %d", what, len(got), len(sent), at)
}

// Fetch reads an address that needs no header.
func Fetch(address string) ([]byte, error) {
	response, err := http.Get(address)
	return answer(response, err)
}

// Send puts a body to an address with no header but those of the transport.
func Send(address string, body []byte) error {
	request, err := http.NewRequest(http.MethodPut, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	_, err = answer(http.DefaultClient.Do(request))
	return err
}

func answer(response *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return body, err
}
