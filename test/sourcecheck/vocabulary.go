// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

// A term is vocabulary that only this project uses, with the standard term of Kubernetes
// networking. The pattern matches whole words, case-insensitively.
type term struct {
	pattern  string
	allow    string // phrases in which the pattern has its usual sense; may be empty
	standard string
}

// privateTerms lists the private vocabulary that can be recognised without knowing the
// context. Words that also have a usual sense, such as "keep" or "lacks", are left to
// review.
func privateTerms() []term {
	return []term{
		{`facts?`, `in fact|the fact that`, "cluster state; object for its items"},
		{`meanings?`, `(chang\w+|no|same|different) meanings?|meaning of`, "resolved Service, resolution"},
		{`(un)?wanted`, "", "desired; unused or unnecessary"},
		{`distances?`, "", "delta"},
		{`in line with`, "", "applied, acknowledged, up to date with"},
		{`(un)?noticed`, "", "observed (time), trigger time"},
		{`cannot honou?r`, "", "does not support"},
		{`unserved`, "", "not programmed"},
		{`(un)?damaged?s?`, "", "drift, external change; the sink requests a resync"},
		{`strangers?|foreign changes?`, "", "external change, unauthenticated client"},
		{`fleets?`, "", "multi-node resolver, all nodes"},
		{`class(es)? of nodes|node class(es)?`, "", "topology class"},
		{`own parts?`, "", "node overlay"},
		{`common parts?`, "", "shared base"},
		{`tellers?`, "", "sender"},
		{`bur(y|ies|ied)`, "", "remove"},
		{`at rest`, `(data|encryption|encrypted) at rest`, "idle"},
		{`news`, "", "changes, update"},
		{`servers? of nodes`, "", "NodeService server"},
		{`servers? of facts|facts servers?`, "", "ClusterService server"},
		{`feathers?`, "", "fake client"},
		{`toys?`, "", "deliberately broken backend"},
		{`worlds?`, `(real|outside|hello)[ -]world`, "test fixture"},
		{`friends?`, "", "trusted client"},
		{`somebody|anybody|everybody`, "", "the component that acts"},
		{`(is|are) none`, `there (is|are) none`, "the failed check: out of range, invalid, missing"},
		{`makes? no sense`, "", "the failed check"},
		{`find-service|hide-source|prerouting-rest|handover`, "", "services, masquerade, prerouting, service-endpoints"},
		{`what lost`, "", "rejected alternatives"},
	}
}

// personWords are the words that describe a part of a program as a person.
const personWords = `nobody|whoever|whom|who|stranger|tells?|told|hears?|heard|says|knows|speaks`

// wordExceptions lists the texts that may hold a word of the lists above.
func wordExceptions() []exception {
	return []exception{
		{"test/sourcecheck/vocabulary.go", "", "the lists themselves"},
		{"CHANGELOG.md", "", "former names of the API"},
	}
}
