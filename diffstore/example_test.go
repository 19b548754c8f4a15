// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore_test

import (
	"fmt"
	"strings"

	"sigs.k8s.io/kpng/diffstore"
)

func Example() {
	s := diffstore.New(strings.Compare, (*diffstore.Hash).String)
	before := s.Update(func(tx *diffstore.Tx[string, string]) {
		tx.Set("apple", "green")
		tx.Set("pear", "yellow")
	})
	now := s.Update(func(tx *diffstore.Tx[string, string]) {
		tx.Set("apple", "red")
		tx.Set("pear", "yellow") // equal, so no change
		tx.Set("plum", "blue")
	})
	for key, value := range now.All() {
		fmt.Println(key, value)
	}
	fmt.Println("since revision", before.Revision())
	for c := range now.Diff(before) {
		fmt.Println(c.Key, c.Value)
	}
	// Output:
	// apple red
	// pear yellow
	// plum blue
	// since revision 2
	// apple red
	// plum blue
}

func ExampleReader() {
	s := diffstore.New(strings.Compare, (*diffstore.Hash).String)
	r := s.Reader()
	defer r.Close()
	apply := func(outcome string, accept bool) {
		snap, changes := r.Pending()
		for c := range changes {
			fmt.Print(c.Key, " ", c.Value, "; ")
		}
		fmt.Println(outcome)
		if accept {
			r.Acknowledge(snap)
		}
	}
	s.Update(func(tx *diffstore.Tx[string, string]) { tx.Set("apple", "green") })
	apply("failed", false)
	s.Update(func(tx *diffstore.Tx[string, string]) { tx.Set("plum", "blue") })
	apply("accepted", true)
	s.Update(func(tx *diffstore.Tx[string, string]) { tx.Set("apple", "red") })
	apply("accepted", true)
	// Output:
	// apple green; failed
	// apple green; plum blue; accepted
	// apple red; accepted
}

func ExampleFill() {
	f := diffstore.NewFill(strings.Compare, (*diffstore.Hash).String)
	for _, wanted := range [][]string{{"apple", "pear"}, {"pear", "plum"}, {"pear", "plum"}} {
		f.Clear()
		for _, key := range wanted {
			f.Set(key, "in the basket")
		}
		for c := range f.Changes() {
			if c.Deleted {
				fmt.Print("take out ", c.Key, "; ")
			} else {
				fmt.Print("put in ", c.Key, "; ")
			}
		}
		f.Commit()
		fmt.Println("done")
	}
	// Output:
	// put in apple; put in pear; done
	// put in plum; take out apple; done
	// done
}
