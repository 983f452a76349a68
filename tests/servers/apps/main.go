// SPDX-License-Identifier: MIT

// Go's net/http: its file server, an echo, a stream.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	http.Handle("/", http.FileServer(http.Dir(os.Getenv("ROOT"))))
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	})
	http.HandleFunc("/stream", func(w http.ResponseWriter, r *http.Request) {
		for number := 0; number < 3; number++ {
			fmt.Fprintf(w, "part %d\n", number)
			w.(http.Flusher).Flush()
		}
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
