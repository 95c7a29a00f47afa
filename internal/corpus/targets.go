package corpus

import "strings"

// Targets are webhook URLs, judged with an empty allow-list. What the tests of
// internal/webhook have is not here again.
func Targets() []Target {
	var list []Target
	for _, url := range []string{
		"https://a.example/?u=http://127.0.0.1/", "https://127.0.0.1.example/", "https://localhost.example/", "https://a.example:65535/",
		"https://a.example/%00", "https://a.example/../..", "HTTPS://a.example/", "https://a.example?x", "https://1.1.1.1:8443/x",
		"https://[2a00:1450:4001::1]:443/", "https://a.example/" + strings.Repeat("a", 2048-len("https://a.example/")),
		"https://" + strings.Repeat("a.", 120) + "example/", "https://a.example//@127.0.0.1/", "https://0x7f.example/", "https://11.0.0.1/",
		"https://172.15.255.255/", "https://172.32.0.1/", "https://100.63.255.255/", "https://100.128.0.1/", "https://9.255.255.255/",
	} {
		list = append(list, Target{URL: url, Take: true})
	}
	for _, url := range []string{
		// This machine and its neighbours, in every spelling.
		"https://127.0.0.1:443/", "https://127.255.255.254/", "https://localhost:443/", "https://LocalHost/", "https://localhost./", "https://a.b.localhost/",
		"https://[0:0:0:0:0:0:0:1]/", "https://[::0001]/", "https://[::ffff:7f00:1]/", "https://[::ffff:0:127.0.0.1]/", "https://[0:0:0:0:0:ffff:127.0.0.1]/",
		"https://[64:ff9b::127.0.0.1]/", "https://[2002:7f00:0001::]/", "https://[2002:a9fe:a9fe::1]/", "https://[2001:0:7f00:1::]/", "https://[::127.0.0.1]/",
		"https://10.0.0.0/", "https://10.255.255.255/", "https://172.31.255.255/", "https://192.168.255.255/", "https://100.127.255.255/", "https://169.254.0.1/",
		"https://198.19.255.255/", "https://192.0.0.1/", "https://192.88.99.1/", "https://239.255.255.255/", "https://240.0.0.1/", "https://255.255.255.254/",
		"https://[fd12:3456::1]/", "https://[febf::1]/", "https://[ff0e::1]/", "https://[2001:20::1]/", "https://[2001:db8:ffff::]/", "https://[4000::1]/", "https://[::2]/",
		"https://169.254.170.23/", "https://[fd00:ec2::23]/", "https://[fd20:ce::254]/",
		// Numbers that resolvers read as addresses.
		"https://017700000001/", "https://0x7f.0x0.0x0.0x1/", "https://127.0.1/", "https://1/", "https://0/", "https://127.0.0.0x1/", "https://00000127.0.0.1/",
		"https://127.0.0.1.:443/", "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://４/", "https://4294967295/", "https://-1/", "https://a.1/", "https://256.256.256.256/",
		// Authorities that two readers split in two ways.
		"https://a.example@127.0.0.1/", "https://127.0.0.1\\@a.example/", "https://a.example:443@127.0.0.1/", "https://a.example%40127.0.0.1/", "https://a.example%2f@127.0.0.1/",
		"https://a.example:443:80/", "https://a.example:-1/", "https://a.example:0x1bb/", "https://a.example:443x/", "https://a.example:99999999999/", "https://[::1/", "https://::1/",
		"https://[127.0.0.1]/", "https://[a.example]/", "https://[v1.x]/", "https://[::1%25]/", "https://[fe80::1%lo]/", "https://[]/", "https://a.example#", "https://a.example/#x",
		"https://a.example/\x00", "https://a.example/\t", "https://a.example/\x7f", "https://a.example/é", "https://a.exa\u200bmple/", "https://a.example\r\nX: y/", " https://a.example/", "https://a.example/ ",
		"https:// a.example/", "https:///a.example/", "https:/a.example/", "https:\\\\a.example/", "https://", "https://.", "https://..", "https://.a.example/", "https://a_.-.example/",
		"https://" + strings.Repeat("a", 64) + ".example/", "https://" + strings.Repeat("a.", 127) + "example/", "https://a.example/" + strings.Repeat("a", 2049-len("https://a.example/")),
		// Other schemes.
		"http://a.example/", "http://1.1.1.1/", "ws://a.example/", "wss://a.example/", "httpss://a.example/", "http+unix://%2frun%2fx/", "data:text/plain,x", "javascript:alert(1)",
		"dict://127.0.0.1:11211/", "ldap://127.0.0.1/", "jar:https://a.example!/", "view-source:https://a.example/", "a.example", "/hook", "?x", "%68ttps://a.example/",
	} {
		list = append(list, Target{URL: url})
	}
	return list
}
