package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

const deployDir = "../deploy"

// TestDeployConfigs guards that each folder of configuration in deploy is one that
// Caddy loads.
func TestDeployConfigs(t *testing.T) {
	t.Parallel()
	f := func(name, caddyfile, fleet string) {
		t.Helper()
		dir := t.TempDir()
		write(t, filepath.Join(dir, "Caddyfile"), caddyfile)
		if fleet != "" {
			write(t, filepath.Join(dir, "config.json5"), strings.ReplaceAll(fleet, "/var/lib/caddy-ai-gateway", dir))
		}
		run(t, dir, secrets, "validate", "--config", "Caddyfile")
		if formatted, _ := run(t, dir, nil, "fmt", "Caddyfile"); formatted != caddyfile {
			t.Errorf("%s: caddy fmt would write:\n%s", name, formatted)
		}
	}
	folders, err := filepath.Glob(filepath.Join(deployDir, "*", "Caddyfile"))
	nested, nestedErr := filepath.Glob(filepath.Join(deployDir, "*", "*", "Caddyfile"))
	if err != nil || nestedErr != nil || len(folders)+len(nested) < 3 {
		t.Fatalf("got %v, %v, %q and %q, want three Caddyfiles", err, nestedErr, folders, nested)
	}
	for _, file := range append(folders, nested...) {
		fleet, err := os.ReadFile(filepath.Join(filepath.Dir(file), "config.json5"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		f(file, read(t, file), string(fleet))
	}
	keys := t.TempDir()
	write(t, filepath.Join(keys, "cloud"), "cloud\n")
	write(t, filepath.Join(keys, "clients.json5"), "[]")
	data := kubernetes(t).config.Data
	f("kubernetes.yaml", data["Caddyfile"], strings.ReplaceAll(data["config.json5"], "/etc/caddy-ai-gateway-keys", keys))
}

// seconds returns what a Caddyfile sets a global option to.
func seconds(t testing.TB, caddyfile, option string) time.Duration {
	t.Helper()
	found := regexp.MustCompile(`(?m)^\s*` + option + ` (\w+)$`).FindStringSubmatch(caddyfile)
	if found == nil {
		t.Fatalf("there is no %s in:\n%s", option, caddyfile)
	}
	d, err := time.ParseDuration(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestUnit guards that systemd knows every line of the unit, and that it gives streams
// the time to end that the Caddyfile beside it does.
func TestUnit(t *testing.T) {
	t.Parallel()
	place := filepath.Join(deployDir, "systemd", "caddy-ai-gateway.service")
	unit := read(t, place)
	var stop int
	if at := strings.Index(unit, "TimeoutStopSec="); at < 0 {
		t.Error("the unit has no TimeoutStopSec")
	} else if _, err := fmt.Sscanf(unit[at:], "TimeoutStopSec=%d", &stop); err != nil {
		t.Error(err)
	}
	grace := seconds(t, read(t, filepath.Join(deployDir, "systemd", "Caddyfile")), "grace_period")
	if time.Duration(stop)*time.Second <= grace {
		t.Errorf("TimeoutStopSec: got %d s, want more than the grace_period of %v", stop, grace)
	}
	systemd, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not here")
	}
	binary, err := build()
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), filepath.Base(place))
	write(t, copied, strings.ReplaceAll(unit, "/usr/local/bin/caddy", binary)) // it wants the program to be there
	if out, err := exec.Command(systemd, "verify", "--man=no", copied).CombinedOutput(); err != nil || strings.Contains(string(out), filepath.Base(place)) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	if out, err := exec.Command(systemd, "security", "--offline=true", "--threshold=20", copied).CombinedOutput(); err != nil {
		t.Errorf("the unit is exposed more than 2.0: %v\n%s", err, out)
	}
}

// TestContainerfile guards that the image is built with the versions of go.mod and
// starts what is there.
func TestContainerfile(t *testing.T) {
	t.Parallel()
	text, module := read(t, filepath.Join(deployDir, "Containerfile")), read(t, "../go.mod")
	caddy := regexp.MustCompile(`(?m)^\tgithub.com/caddyserver/caddy/v2 (\S+)$`).FindStringSubmatch(module)
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(module)
	name := regexp.MustCompile(`(?m)^module (\S+)$`).FindStringSubmatch(module)
	if caddy == nil || language == nil || name == nil {
		t.Fatal("go.mod names no module, no Go or no Caddy")
	}
	for _, want := range []string{
		"FROM docker.io/library/golang:" + language[1] + ".",
		"xcaddy build " + caddy[1] + " --with " + name[1] + "@v0.0.0=. --output /out/caddy\n",
		"COPY --from=build /out/caddy /usr/local/bin/caddy\n",
		`ENTRYPOINT ["/usr/local/bin/caddy"]` + "\n",
		`CMD ["run", "--config", "/etc/caddy-ai-gateway/Caddyfile"]` + "\n",
		"USER 65532:65532\n", "VOLUME /var/lib/caddy-ai-gateway\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("deploy/Containerfile has no %q", want)
		}
	}
}

// TestCompose guards that the services mount folders that are there, at the place where
// the image looks, and that the fleet names services.
func TestCompose(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(deployDir, "compose")
	var compose struct {
		Services map[string]struct {
			Build struct{ Context, Dockerfile string }
			Volumes,
			Ports []string
			Grace string `yaml:"stop_grace_period"`
		}
	}
	unmarshal(t, read(t, filepath.Join(dir, "compose.yaml")), &compose)
	for name, service := range compose.Services {
		if len(service.Volumes) == 0 {
			t.Errorf("%s mounts nothing", name)
			continue
		}
		source, target, _ := strings.Cut(service.Volumes[0], ":")
		if info, err := os.Stat(filepath.Join(dir, source)); err != nil || !info.IsDir() || target != "/etc/caddy-ai-gateway:ro" {
			t.Errorf("%s mounts %s: %v, want a folder at /etc/caddy-ai-gateway:ro", name, service.Volumes[0], err)
		}
	}
	gateway := compose.Services["gateway"]
	if _, err := os.Stat(filepath.Join(dir, gateway.Build.Context, gateway.Build.Dockerfile)); err != nil {
		t.Error(err)
	}
	caddyfile := read(t, filepath.Join(dir, "gateway", "Caddyfile"))
	if stop, err := time.ParseDuration(gateway.Grace); err != nil || stop <= seconds(t, caddyfile, "grace_period") {
		t.Errorf("stop_grace_period: got %v, %v, want more than grace_period", stop, err)
	}
	if len(gateway.Ports) != 1 || !strings.HasSuffix(gateway.Ports[0], ":9999") || !strings.Contains(caddyfile, "\n:9999 {") {
		t.Errorf("ports: got %q, want the one of the Caddyfile", gateway.Ports)
	}
	urls := regexp.MustCompile(`url: "http://([\w-]+)(:\d+)/v1"`).FindAllStringSubmatch(read(t, filepath.Join(dir, "gateway", "config.json5")), -1)
	if len(urls) != 2 {
		t.Errorf("got the instances %q, want two", urls)
	}
	models := read(t, filepath.Join(dir, "models", "Caddyfile"))
	for _, url := range urls {
		if _, ok := compose.Services[url[1]]; !ok || !strings.Contains(models, "\n"+url[2]+" {") {
			t.Errorf("there is no service at %s%s", url[1], url[2])
		}
	}
}

// probe is one of a container's.
type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// mount is a place in a container.
type mount struct {
	Name      string
	MountPath string `yaml:"mountPath"`
	SubPath   string `yaml:"subPath"`
}

// object is what the tests read of an object of Kubernetes, of whichever kind.
type object struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct {
		Name   string
		Labels map[string]string
	}
	Data map[string]string
	Spec struct {
		Selector    map[string]any
		ServiceName string `yaml:"serviceName"`
		Ports       []struct {
			TargetPort string `yaml:"targetPort"`
		}
		Template struct {
			Metadata struct{ Labels, Annotations map[string]string }
			Spec     struct {
				Grace      int `yaml:"terminationGracePeriodSeconds"`
				Containers []struct {
					Ports []struct {
						Name string
						Port int `yaml:"containerPort"`
					}
					Live   probe   `yaml:"livenessProbe"`
					Ready  probe   `yaml:"readinessProbe"`
					Mounts []mount `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name      string
					ConfigMap struct{ Name string } `yaml:"configMap"`
					Secret    struct {
						SecretName string `yaml:"secretName"`
					} // made by a command of docs/deployment.md
				}
			}
		}
		Claims []struct{ Metadata struct{ Name string } } `yaml:"volumeClaimTemplates"`
	}
}

// cluster is what kubernetes.yaml makes.
type cluster struct {
	config, set object
	services    []object
}

func kubernetes(t testing.TB) (c cluster) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(read(t, filepath.Join(deployDir, "kubernetes.yaml"))))
	for {
		var o object
		if err := decoder.Decode(&o); errors.Is(err, io.EOF) {
			return c
		} else if err != nil {
			t.Fatal(err)
		}
		switch o.Kind {
		case "ConfigMap":
			c.config = o
		case "StatefulSet":
			c.set = o
		case "Service":
			c.services = append(c.services, o)
		}
	}
}

// TestKubernetes guards that the manifests fit together, and the Caddyfile in them.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	c := kubernetes(t)
	pod := c.set.Spec.Template
	if len(c.services) != 2 || len(pod.Spec.Containers) != 1 {
		t.Fatalf("got %d services and %d containers, want 2 and 1", len(c.services), len(pod.Spec.Containers))
	}
	container := pod.Spec.Containers[0]
	caddyfile := c.config.Data["Caddyfile"]
	ports := make(map[string]bool)
	for _, p := range container.Ports {
		if ports[p.Name] = true; !strings.Contains(caddyfile, fmt.Sprintf("\n:%d {", p.Port)) {
			t.Errorf("the Caddyfile does not listen on %d", p.Port)
		}
	}
	named := false
	for _, service := range c.services {
		named = named || service.Metadata.Name == c.set.Spec.ServiceName
		for label, value := range service.Spec.Selector {
			if pod.Metadata.Labels[label] != value {
				t.Errorf("service %s selects %s: %v, which the pods are not", service.Metadata.Name, label, value)
			}
		}
		for _, p := range service.Spec.Ports {
			if !ports[p.TargetPort] {
				t.Errorf("service %s: the pods have no port %s", service.Metadata.Name, p.TargetPort)
			}
		}
	}
	if !named {
		t.Errorf("there is no service %s", c.set.Spec.ServiceName)
	}
	if container.Live.HTTPGet.Path != "/livez" || container.Ready.HTTPGet.Path != "/readyz" || !ports[container.Live.HTTPGet.Port] || !ports[container.Ready.HTTPGet.Port] {
		t.Errorf("probes: got %+v and %+v", container.Live, container.Ready)
	}
	needed := seconds(t, caddyfile, "shutdown_delay") + seconds(t, caddyfile, "grace_period")
	if grace := time.Duration(pod.Spec.Grace) * time.Second; grace <= needed {
		t.Errorf("terminationGracePeriodSeconds: got %v, want more than %v", grace, needed)
	}
	volumes := make(map[string]bool)
	for _, v := range pod.Spec.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap.Name != "" && v.ConfigMap.Name != c.config.Metadata.Name {
			t.Errorf("there is no config map %s", v.ConfigMap.Name)
		}
		if secret := v.Secret.SecretName; secret != "" && !strings.Contains(read(t, "../docs/deployment.md"), "kubectl create secret generic "+secret+" ") {
			t.Errorf("docs/deployment.md does not tell how to make the secret %s", secret)
		}
	}
	for _, claim := range c.set.Spec.Claims {
		volumes[claim.Metadata.Name] = true
	}
	for _, m := range container.Mounts {
		if !volumes[m.Name] || m.SubPath != "" {
			t.Errorf("mount %+v: want a whole volume", m)
		}
	}
	if annotations := pod.Metadata.Annotations; len(annotations) != 2 {
		t.Errorf("got the annotations %v, want no checksum of the config map", annotations)
	}
}

// TestKubernetesConfigMap guards that another content of the config map is in force
// without a restart, when it comes as the kubelet brings it: in a new folder, to which
// the link is turned that all files of the volume go through.
func TestKubernetesConfigMap(t *testing.T) {
	t.Parallel()
	volume, keys := t.TempDir(), t.TempDir()
	write(t, filepath.Join(keys, "cloud"), "cloud\n")
	write(t, filepath.Join(keys, "clients.json5"), `[{name: "watcher", user: "watcher", status: true}]`)
	ports := freePorts(t, 2)
	edit := strings.NewReplacer(":9999", ":"+ports[0], ":9180", ":"+ports[1], "shutdown_delay 10s", "",
		"/etc/caddy-ai-gateway-keys", keys, "/var/lib/caddy-ai-gateway", t.TempDir())
	data := kubernetes(t).config.Data
	turn := func(folder, fleet string) {
		if err := os.Mkdir(filepath.Join(volume, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(volume, folder, "Caddyfile"), edit.Replace(data["Caddyfile"]))
		write(t, filepath.Join(volume, folder, "config.json5"), edit.Replace(fleet))
		if err := os.Symlink(folder, filepath.Join(volume, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	turn("..2026_01", data["config.json5"])
	for _, name := range []string{"Caddyfile", "config.json5"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(volume, name)); err != nil {
			t.Fatal(err)
		}
	}
	g := &gateway{url: "http://127.0.0.1:" + ports[0], admin: "127.0.0.1:" + freePorts(t, 1)[0], dir: t.TempDir(), log: new(log)}
	g.config = filepath.Join(volume, "Caddyfile")
	g.run(t, nil)
	t.Cleanup(func() {
		if err := g.stop(); err != nil {
			t.Errorf("gateway ended with %v\n%s", err, g.log)
		}
	})
	if !g.ready() {
		t.Fatalf("gateway is not ready\n%s", g.log)
	}
	eventually(t, "the port of the metrics to be open", func() bool { // the servers start one after the other
		conn, err := net.Dial("tcp", "127.0.0.1:"+ports[1])
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	if metrics := get(t, "http://127.0.0.1:"+ports[1]+"/"); !strings.Contains(metrics, "caddy_ai_gateway_upstream_info") {
		t.Error("the metrics of the gateway are not on their port")
	}
	fleet := strings.Replace(data["config.json5"], `engine: "vllm" }`, `engine: "vllm", weight: 7 }`, 1)
	if fleet == data["config.json5"] {
		t.Fatal("nothing has been changed")
	}
	turn("..2026_02", fleet)
	if err := os.RemoveAll(filepath.Join(volume, "..2026_01")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new content to be in force", func() bool {
		return strings.Contains(get(t, "http://"+g.admin+"/ai_gateway/instances"), `"weight":7`)
	})
}
