// The daily work of an operator with Kubernetes' own Go client; each check ends the program, or the last line is "done".
package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	applyapps "k8s.io/client-go/applyconfigurations/apps/v1"
	applycore "k8s.io/client-go/applyconfigurations/core/v1"
	applymeta "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/util/retry"
)

const (
	namespace = "default"
	// How long anything is waited for that comes by itself.
	waitMax = 30 * time.Second
)

var (
	ctx      = context.Background()
	crontabs = schema.GroupVersionResource{Group: "stable.example.com", Version: "v1", Resource: "crontabs"}
	web      = []corev1.Container{{Name: "web", Image: "nowhere:v1"}}
)

func check(ok bool, format string, arguments ...any) {
	if !ok {
		panic(fmt.Sprintf(format, arguments...))
	}
}

func must[T any](value T, err error) T {
	check(err == nil, "%v", err)
	return value
}

func eventually(what string, ask func() bool) {
	for began := time.Now(); !ask(); time.Sleep(10 * time.Millisecond) {
		check(time.Since(began) < waitMax, "%s did not happen", what)
	}
}

func main() {
	config := must(clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG")))
	// By itself it asks five times a second.
	config.QPS, config.Burst = 500, 500
	json := kubernetes.NewForConfigOrDie(config)
	proto := rest.CopyConfig(config)
	proto.ContentType = "application/vnd.kubernetes.protobuf"
	proto.AcceptContentTypes = "application/vnd.kubernetes.protobuf"
	discovered(json)
	for name, client := range map[string]kubernetes.Interface{"json": json, "proto": kubernetes.NewForConfigOrDie(proto)} {
		objects(client, name)
		workloads(client, name)
		informed(client, name)
		applied(client, name)
	}
	retried(json)
	unstructureds(config, json.Discovery())
	elected(json)
	fmt.Println("done")
}

func discovered(client kubernetes.Interface) {
	check(strings.HasPrefix(must(client.Discovery().ServerVersion()).GitVersion, "v1."), "the version")
	_, lists, err := client.Discovery().ServerGroupsAndResources()
	check(err == nil, "%v", err)
	found := must(discovery.GroupVersionResources(lists))
	for _, wanted := range []schema.GroupVersionResource{
		{Version: "v1", Resource: "pods"}, {Group: "apps", Version: "v1", Resource: "deployments"}, crontabs,
	} {
		_, is := found[wanted]
		check(is, "%v is not discovered", wanted)
	}
	document := must(client.Discovery().OpenAPISchema())
	check(document.Info.Title == "Kubernetes", "%v", document.Info)
	paths := must(client.Discovery().OpenAPIV3().Paths())
	check(paths["apis/apps/v1"] != nil, "OpenAPI 3 of apps/v1")
	must(paths["apis/apps/v1"].Schema("application/com.github.proto-openapi.spec.v3@v1.0+protobuf"))
}

func objects(client kubernetes.Interface, name string) {
	maps := client.CoreV1().ConfigMaps(namespace)
	made := must(maps.Create(ctx, settings(name, "1"), metav1.CreateOptions{}))
	check(made.UID != "" && made.Data["a"] == "1" && !made.CreationTimestamp.IsZero(), "%v", made)
	_, err := maps.Create(ctx, settings(name, "1"), metav1.CreateOptions{})
	check(apierrors.IsAlreadyExists(err), "%v", err)
	fresh := made.DeepCopy()
	fresh.Data["a"] = "2"
	must(maps.Update(ctx, fresh, metav1.UpdateOptions{}))
	_, err = maps.Update(ctx, made, metav1.UpdateOptions{})
	check(apierrors.IsConflict(err), "%v", err)
	patches := map[types.PatchType]string{
		types.JSONPatchType:           `[{"op": "add", "path": "/data/b", "value": "3"}]`,
		types.MergePatchType:          `{"data": {"c": "4"}}`,
		types.StrategicMergePatchType: `{"data": {"d": "5"}}`,
	}
	for kind, patch := range patches {
		must(maps.Patch(ctx, name, kind, []byte(patch), metav1.PatchOptions{}))
	}
	held := must(maps.Get(ctx, name, metav1.GetOptions{}))
	check(fmt.Sprint(held.Data) == "map[a:2 b:3 c:4 d:5]", "%v", held.Data)
	_, err = maps.Patch(ctx, name, types.MergePatchType, []byte(`{"data": {"not a key": ""}}`), metav1.PatchOptions{})
	check(apierrors.IsInvalid(err), "%v", err)
	cause, is := apierrors.StatusCause(err, metav1.CauseTypeFieldValueInvalid)
	check(is && cause.Field == "data[not a key]", "%v", cause)
	dry := must(maps.Create(ctx, settings(name+"-dry", "1"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}))
	_, err = maps.Get(ctx, dry.Name, metav1.GetOptions{})
	check(apierrors.IsNotFound(err), "%v", err)
	uid := types.UID("another")
	err = maps.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	check(apierrors.IsConflict(err), "%v", err)
	check(maps.Delete(ctx, name, metav1.DeleteOptions{}) == nil, "the deletion")
	pages(client, name)
}

func settings(name, value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"a": value}}
}

func pages(client kubernetes.Interface, name string) {
	secrets := client.CoreV1().Secrets(namespace)
	for index := range 7 {
		labels := map[string]string{"of": name}
		own := metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", name, index), Labels: labels}
		must(secrets.Create(ctx, &corev1.Secret{ObjectMeta: own}, metav1.CreateOptions{}))
	}
	selection := metav1.ListOptions{LabelSelector: "of=" + name, Limit: 3}
	first := must(secrets.List(ctx, selection))
	check(len(first.Items) == 3 && first.Continue != "" && first.RemainingItemCount == nil, "%v", first.ListMeta)
	all, _, err := pager.New(pager.SimplePageFunc(func(options metav1.ListOptions) (runtime.Object, error) {
		return secrets.List(ctx, options)
	})).List(ctx, selection)
	check(err == nil, "%v", err)
	count := 0
	check(meta.EachListItem(all, func(runtime.Object) error { count++; return nil }) == nil && count == 7, "%d", count)
	// A limit would hold for the deletion too.
	selection.Limit = 0
	check(secrets.DeleteCollection(ctx, metav1.DeleteOptions{}, selection) == nil, "the deletion")
	left := must(secrets.List(ctx, selection))
	check(len(left.Items) == 0, "%v", left.Items)
}

func workloads(client kubernetes.Interface, name string) {
	deployments := client.AppsV1().Deployments(namespace)
	labels := map[string]string{"app": name}
	none := int32(0)
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &none,
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: web},
		},
	}}
	must(deployments.Create(ctx, deployment, metav1.CreateOptions{}))
	// The controller writes the status meanwhile.
	check(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		scale := must(deployments.GetScale(ctx, name, metav1.GetOptions{}))
		scale.Spec.Replicas = 1
		_, err := deployments.UpdateScale(ctx, name, scale, metav1.UpdateOptions{})
		return err
	}) == nil, "the scale")
	pods := client.CoreV1().Pods(namespace)
	eventually("a pod", func() bool {
		return len(must(pods.List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})).Items) == 1
	})
	foreground := metav1.DeletePropagationForeground
	options := metav1.DeleteOptions{PropagationPolicy: &foreground}
	check(deployments.Delete(ctx, name, options) == nil, "the deletion")
	eventually("its end", func() bool {
		_, err := deployments.Get(ctx, name, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	check(len(must(pods.List(ctx, metav1.ListOptions{LabelSelector: "app=" + name})).Items) == 0, "it went first")
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: batchv1.JobSpec{
		Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: web, RestartPolicy: "Sometimes"}},
	}}
	_, err := client.BatchV1().Jobs(namespace).Create(ctx, job, metav1.CreateOptions{})
	check(apierrors.IsInvalid(err), "%v", err)
}

// What an informer told, in order.
type told struct {
	sync.Mutex
	events []string
}

func (t *told) add(format string, arguments ...any) {
	t.Lock()
	defer t.Unlock()
	t.events = append(t.events, fmt.Sprintf(format, arguments...))
}

func (t *told) are(events ...string) bool {
	t.Lock()
	defer t.Unlock()
	return slices.Equal(t.events, events)
}

// A shared informer whose watches end each second.
func informed(client kubernetes.Interface, name string) {
	var watches atomic.Int32
	maps := client.CoreV1().ConfigMaps(namespace)
	one := int64(1)
	source := &cache.ListWatch{
		ListFunc: func(options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
			return maps.List(ctx, options)
		},
		WatchFunc: func(options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
			options.TimeoutSeconds = &one
			watches.Add(1)
			return maps.Watch(ctx, options)
		},
	}
	informer := cache.NewSharedIndexInformer(source, &corev1.ConfigMap{}, 0, cache.Indexers{})
	var seen told
	must(informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(it any) { seen.add("added %s", it.(*corev1.ConfigMap).Data["a"]) },
		UpdateFunc: func(_, it any) { seen.add("updated %s", it.(*corev1.ConfigMap).Data["a"]) },
		DeleteFunc: func(any) { seen.add("deleted") },
	}))
	stop := make(chan struct{})
	defer close(stop)
	go informer.Run(stop)
	check(cache.WaitForCacheSync(stop, informer.HasSynced), "the cache is filled")
	held := must(maps.Create(ctx, settings(name, "1"), metav1.CreateOptions{}))
	eventually("what was made", func() bool { return seen.are("added 1") })
	begun := watches.Load()
	eventually("another watch", func() bool { return watches.Load() > begun })
	held.Data["a"] = "2"
	must(maps.Update(ctx, held, metav1.UpdateOptions{}))
	eventually("what was changed", func() bool { return seen.are("added 1", "updated 2") })
	check(maps.Delete(ctx, name, metav1.DeleteOptions{}) == nil, "the deletion")
	eventually("what was deleted", func() bool { return seen.are("added 1", "updated 2", "deleted") })
	// The factory's informers and listers, of several kinds at once.
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes := factory.Core().V1().Nodes().Lister()
	spaces := factory.Core().V1().Namespaces().Lister()
	factory.Start(stop)
	for kind, is := range factory.WaitForCacheSync(stop) {
		check(is, "%v", kind)
	}
	must(nodes.Get("here"))
	must(spaces.Get("kube-system"))
}

// Server-side apply with typed configurations: owners, conflicts, and what is no longer applied goes.
func applied(client kubernetes.Interface, name string) {
	maps := client.CoreV1().ConfigMaps(namespace)
	wanted := applycore.ConfigMap(name, namespace).WithData(map[string]string{"a": "1", "b": "2"})
	must(maps.Apply(ctx, wanted, metav1.ApplyOptions{FieldManager: "one"}))
	other := applycore.ConfigMap(name, namespace).WithData(map[string]string{"a": "3"})
	_, err := maps.Apply(ctx, other, metav1.ApplyOptions{FieldManager: "two"})
	check(apierrors.IsConflict(err), "%v", err)
	cause, is := apierrors.StatusCause(err, metav1.CauseTypeFieldManagerConflict)
	check(is && cause.Field == ".data.a" && strings.Contains(cause.Message, `"one"`), "%v", cause)
	must(maps.Apply(ctx, other, metav1.ApplyOptions{FieldManager: "two", Force: true}))
	wanted = applycore.ConfigMap(name, namespace).WithData(map[string]string{"c": "4"})
	held := must(maps.Apply(ctx, wanted, metav1.ApplyOptions{FieldManager: "one"}))
	check(fmt.Sprint(held.Data) == "map[a:3 c:4]", "%v", held.Data)
	// What one owns can be taken out of the object again.
	own := must(applycore.ExtractConfigMap(held, "two"))
	check(fmt.Sprint(own.Data) == "map[a:3]", "%v", own.Data)
	check(maps.Delete(ctx, name, metav1.DeleteOptions{}) == nil, "the deletion")
	labels := map[string]string{"app": "applied"}
	template := applycore.PodTemplateSpec().WithLabels(labels).WithSpec(
		applycore.PodSpec().WithContainers(applycore.Container().WithName("web").WithImage("nowhere:v1")))
	spec := applyapps.DeploymentSpec().WithReplicas(0).WithTemplate(template)
	spec.WithSelector(applymeta.LabelSelector().WithMatchLabels(labels))
	deployments := client.AppsV1().Deployments(namespace)
	options := metav1.ApplyOptions{FieldManager: "one", Force: true}
	must(deployments.Apply(ctx, applyapps.Deployment(name, namespace).WithSpec(spec), options))
	check(deployments.Delete(ctx, name, metav1.DeleteOptions{}) == nil, "the deletion")
}

// Many that count the same number up, each again when another one was faster.
func retried(client kubernetes.Interface) {
	maps := client.CoreV1().ConfigMaps(namespace)
	counted := settings("counted", "")
	must(maps.Create(ctx, counted, metav1.CreateOptions{}))
	var all sync.WaitGroup
	for range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			patient := retry.DefaultBackoff
			patient.Steps = 20
			err := retry.RetryOnConflict(patient, func() error {
				held, err := maps.Get(ctx, "counted", metav1.GetOptions{})
				if err != nil {
					return err
				}
				held.Data["a"] += "x"
				_, err = maps.Update(ctx, held, metav1.UpdateOptions{})
				return err
			})
			check(err == nil, "%v", err)
		}()
	}
	all.Wait()
	held := must(maps.Get(ctx, "counted", metav1.GetOptions{}))
	check(held.Data["a"] == "xxxxxxxx", "%v", held.Data)
}

// Custom resources, by what discovery says of them alone.
func unstructureds(config *rest.Config, discovery discovery.DiscoveryInterface) {
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discovery))
	mapping := must(mapper.RESTMapping(schema.GroupKind{Group: crontabs.Group, Kind: "CronTab"}))
	check(mapping.Resource == crontabs && mapping.Scope.Name() == "namespace", "%v", mapping)
	check(must(mapper.KindFor(schema.GroupVersionResource{Resource: "pods"})).Kind == "Pod", "the kind of pods")
	client := dynamic.NewForConfigOrDie(config)
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
	informer := factory.ForResource(mapping.Resource).Informer()
	var seen told
	replicas := func(it any) any {
		value, _, _ := unstructured.NestedInt64(it.(*unstructured.Unstructured).Object, "spec", "replicas")
		return value
	}
	must(informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(it any) { seen.add("added %v", replicas(it)) },
		UpdateFunc: func(_, it any) { seen.add("updated %v", replicas(it)) },
		DeleteFunc: func(any) { seen.add("deleted") },
	}))
	stop := make(chan struct{})
	defer close(stop)
	factory.Start(stop)
	factory.WaitForCacheSync(stop)
	tabs := client.Resource(mapping.Resource).Namespace(namespace)
	tab := func(schedule string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "stable.example.com/v1", "kind": "CronTab",
			"metadata": map[string]any{"name": "nightly"}, "spec": map[string]any{"schedule": schedule},
		}}
	}
	must(tabs.Create(ctx, tab("0 1 * * *"), metav1.CreateOptions{}))
	_, err := tabs.Patch(ctx, "nightly", types.MergePatchType, []byte(`{"spec": {"replicas": 11}}`), metav1.PatchOptions{})
	check(apierrors.IsInvalid(err), "%v", err)
	must(tabs.Patch(ctx, "nightly", types.MergePatchType, []byte(`{"spec": {"replicas": 3}}`), metav1.PatchOptions{}))
	held := must(tabs.Apply(ctx, "nightly", tab("0 2 * * *"), metav1.ApplyOptions{FieldManager: "one", Force: true}))
	check(replicas(held) == int64(3), "%v", held)
	check(unstructured.SetNestedField(held.Object, "yes", "status", "ok") == nil, "a field")
	must(tabs.UpdateStatus(ctx, held, metav1.UpdateOptions{}))
	check(tabs.Delete(ctx, "nightly", metav1.DeleteOptions{}) == nil, "the deletion")
	eventually("all of it", func() bool {
		return seen.are("added 1", "updated 3", "updated 3", "updated 3", "deleted")
	})
}

// Two who want to lead: one does, and as it lets go, the other one does.
func elected(client kubernetes.Interface) {
	leading := make(chan string)
	stood := make(chan string)
	stand := func(name string) context.CancelFunc {
		standing, resign := context.WithCancel(ctx)
		lock := must(resourcelock.New(
			resourcelock.LeasesResourceLock, namespace, "leader", client.CoreV1(), client.CoordinationV1(),
			resourcelock.ResourceLockConfig{Identity: name},
		))
		go func() {
			leaderelection.RunOrDie(standing, leaderelection.LeaderElectionConfig{
				Lock: lock, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second,
				RetryPeriod: 500 * time.Millisecond, ReleaseOnCancel: true,
				Callbacks: leaderelection.LeaderCallbacks{
					OnStartedLeading: func(context.Context) { leading <- name },
					OnStoppedLeading: func() {},
				},
			})
			stood <- name
		}()
		return resign
	}
	next := func(from chan string) string {
		select {
		case name := <-from:
			return name
		case <-time.After(waitMax):
			panic("nobody leads")
		}
	}
	resign := map[string]context.CancelFunc{"one": stand("one"), "two": stand("two")}
	first := next(leading)
	lease := func() coordinationv1.LeaseSpec {
		return must(client.CoordinationV1().Leases(namespace).Get(ctx, "leader", metav1.GetOptions{})).Spec
	}
	held := lease()
	check(*held.HolderIdentity == first, "%v", held)
	// Between two renewals, so that it is free at once and not only when its time is over.
	eventually("a renewal", func() bool { return !lease().RenewTime.Equal(held.RenewTime) })
	resign[first]()
	check(next(stood) == first, "it ends")
	second := next(leading)
	check(second != first, "the other one leads, not %s", second)
	check(*lease().LeaseTransitions == 1, "%v", lease())
	resign[second]()
	next(stood)
}
