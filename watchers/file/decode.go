// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// An objectID names an object of a file.
type objectID struct{ kind, namespace, name string }

func (id objectID) String() string { return objectName(id.kind, id.namespace, id.name) }

// An object is what a document comes to.
type object struct {
	id   objectID
	line int
	fact watchers.Object // nil when the object does not concern the proxy, or is broken
	err  *Error          // not nil when it is broken
}

// contents is what a file comes to.
type contents struct {
	objects []object
	// errs are about documents of which it is not known what object they are.
	errs []*Error
	// misfits are about fields that are passed over.
	misfits []*Error
}

// A decoder makes contents of files.
type decoder struct {
	filter  kubeapi.Filter
	logger  *slog.Logger
	ignored map[string]bool // the kinds that have been logged
}

func (d *decoder) decode(name string, data []byte) contents {
	var out contents
	for _, doc := range documents(name, data) {
		switch {
		case doc.err != nil:
			line := doc.line
			if doc.at > 0 {
				line = doc.at
			}
			out.errs = append(out.errs, &Error{File: name, Line: line, Object: doc.guess(), Err: doc.err})
		case string(doc.json) != "null":
			d.object(&out, name, &doc, doc.json, metav1.TypeMeta{})
		}
	}
	return out
}

// head is what tells an object.
type head struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"metadata"`
}

// object decodes one object, or the items of a list; what is missing of its type is
// taken from standard.
func (d *decoder) object(out *contents, file string, doc *document, raw []byte, standard metav1.TypeMeta) {
	var h head
	fail := func(object string, err error) {
		out.errs = append(out.errs, &Error{File: file, Line: doc.line, Object: object, Err: err})
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(raw, &h); err != nil {
		fail("", fmt.Errorf("not a Kubernetes object: %w", err))
		return
	}
	if h.Kind == "" && h.APIVersion == "" {
		h.TypeMeta = standard
	}
	if h.Kind == "" || h.APIVersion == "" {
		fail("", errors.New("apiVersion or kind is missing"))
		return
	}
	var into any
	switch h.APIVersion + " " + h.Kind {
	case "v1 Service":
		into = &corev1.Service{}
	case "v1 Node":
		into = &corev1.Node{}
		h.Metadata.Namespace = ""
	case "networking.k8s.io/v1 ServiceCIDR":
		into = &networkingv1.ServiceCIDR{}
		h.Metadata.Namespace = ""
	case "discovery.k8s.io/v1 EndpointSlice":
		into = &discoveryv1.EndpointSlice{}
	case "v1 List", "v1 ServiceList", "v1 NodeList", "discovery.k8s.io/v1 EndpointSliceList", "networking.k8s.io/v1 ServiceCIDRList":
		d.list(out, file, doc, raw, h.TypeMeta)
		return
	default:
		d.ignore(file, h.TypeMeta)
		return
	}
	if h.Metadata.Name == "" {
		fail(h.Kind, errors.New("metadata.name is missing"))
		return
	}
	if h.Metadata.Namespace == "" && namespaced(h.Kind) {
		h.Metadata.Namespace = metav1.NamespaceDefault
	}
	o := object{id: objectID{h.Kind, h.Metadata.Namespace, h.Metadata.Name}, line: doc.line}
	misfits, err := decodeInto(doc, raw, into)
	if err == nil {
		setDefaults(into, h.Metadata.Namespace)
		if err = incomplete(into); err == nil {
			o.fact, err = d.filter.Object(into)
		}
	}
	if unusable := (*kubeapi.InvalidObjectError)(nil); errors.As(err, &unusable) {
		err = errors.New(unusable.Problem.Field + ": " + unusable.Problem.Message) // the object is in Error
	}
	for _, u := range misfits {
		out.misfits = append(out.misfits, &Error{File: file, Line: u.line, Object: o.id.String(), Err: u.err})
	}
	if err != nil {
		o.err = &Error{File: file, Line: doc.line, Object: o.id.String(), Err: err}
	}
	tell(o.fact, o.id, misfits)
	out.objects = append(out.objects, o)
}

func (d *decoder) list(out *contents, file string, doc *document, raw []byte, t metav1.TypeMeta) {
	var list metav1.List
	misfits, err := decodeInto(doc, raw, &list)
	for _, u := range misfits {
		out.misfits = append(out.misfits, &Error{File: file, Line: u.line, Object: t.Kind, Err: u.err})
	}
	if err != nil {
		out.errs = append(out.errs, &Error{File: file, Line: doc.line, Object: t.Kind, Err: err})
		return
	}
	// The items of a ServiceList need not say that they are Services.
	t.Kind = strings.TrimSuffix(t.Kind, "List")
	for _, item := range list.Items {
		d.object(out, file, doc, item.Raw, t)
	}
}

// A misfit is a field that means nothing in its place: it is unknown, or said before.
type misfit struct {
	line  int
	field string
	err   error
}

// decodeInto decodes one object, and returns the fields that do not fit beside an error
// that leaves nothing of the object.
func decodeInto(doc *document, raw []byte, into any) ([]misfit, error) {
	strict, err := kjson.UnmarshalStrict(raw, into)
	if err != nil {
		return nil, err
	}
	var out []misfit
	for _, e := range strict {
		m := misfit{line: doc.line, err: e}
		if f, ok := e.(kjson.FieldError); ok {
			m.field = f.FieldPath()
			m.line = max(m.line, doc.lineOf(m.field[strings.LastIndexByte(m.field, '.')+1:]))
		}
		out = append(out, m)
	}
	return out, nil
}

// tell adds what does not fit to the problems of a fact, which then speaks for itself.
func tell(fact watchers.Object, id objectID, misfits []misfit) {
	var to *[]watchers.Problem
	switch f := fact.(type) {
	case *watchers.Service:
		to = &f.Problems
	case *watchers.EndpointSlice:
		to = &f.Problems
	case *watchers.Node:
		to = &f.Problems
	case *watchers.ServiceCIDR:
		to = &f.Problems
	default:
		return
	}
	for _, m := range misfits {
		*to = append(*to, watchers.Problem{Object: id.String(), Field: m.field, Message: m.err.Error() + "; ignored"})
	}
}

// line of the fault if there is one.
func strictly(doc *document, raw []byte, into any) (line int, _ error) {
	strict, err := kjson.UnmarshalStrict(raw, into)
	if err != nil {
		return doc.line, err
	}
	for _, e := range strict {
		if f, ok := e.(kjson.FieldError); ok && line == 0 {
			field := f.FieldPath()
			line = doc.lineOf(field[strings.LastIndexByte(field, '.')+1:])
		}
	}
	return max(line, doc.line), errors.Join(strict...)
}

func (d *decoder) ignore(file string, t metav1.TypeMeta) {
	if kind := t.APIVersion + " " + t.Kind; !d.ignored[kind] {
		d.ignored[kind] = true
		d.logger.Info("objects of this kind are passed over", "apiVersion", t.APIVersion, "kind", t.Kind, "file", file)
	}
}
