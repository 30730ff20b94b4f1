/* The system calls of a safe move by exec events, and nothing else: what any program pays, in whatever language.
 *
 *   placement_floor NAME ROW_FILE CGROUP_PROCS
 * An exec by NAME: the name is read, the process opened, its start time and its groups read through what was opened,
 * a row appended, its number written to the group, and looked whether the process still is. No rules, plan or undo.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char text[4096];

static int subscribed(void) {
	struct __attribute__((packed)) {
		struct nlmsghdr header;
		struct cn_msg message;
		unsigned operation, kinds;
	} listen = {.header = {.nlmsg_len = sizeof listen, .nlmsg_type = NLMSG_DONE},
	            .message = {.id = {CN_IDX_PROC, CN_VAL_PROC}, .len = 8},
	            .operation = PROC_CN_MCAST_LISTEN,
	            .kinds = PROC_EVENT_EXEC};
	struct sockaddr_nl all = {.nl_family = AF_NETLINK, .nl_groups = CN_IDX_PROC};
	int events = socket(PF_NETLINK, SOCK_DGRAM | SOCK_NONBLOCK, NETLINK_CONNECTOR);
	if (bind(events, (void *)&all, sizeof all) || send(events, &listen, sizeof listen, 0) < 0) return -1;
	return events;
}

static int read_of(int at, const char *name, int most) {
	int file = openat(at, name, O_RDONLY | O_CLOEXEC);
	if (file < 0) return -1;
	int got = read(file, text, most);
	close(file);
	return got;
}

int main(int c, char **v) {
	char wanted[32], name[32], event[4096];
	if (c != 4) return 2;
	int length = snprintf(wanted, sizeof wanted, "%s\n", v[1]), proc = open("/proc", O_PATH | O_DIRECTORY);
	int rows = open(v[2], O_WRONLY | O_CREAT | O_APPEND, 0600), procs = open(v[3], O_WRONLY);
	struct pollfd waits = {.fd = subscribed(), .events = POLLIN};
	if (waits.fd < 0 || rows < 0 || procs < 0) return perror(*v), 1;
	puts("ready");
	fflush(stdout);
	while (poll(&waits, 1, -1) > 0) {
		while (recv(waits.fd, event, sizeof event, 0) > 0) {
			struct proc_event *told = (void *)(event + NLMSG_HDRLEN + sizeof(struct cn_msg));
			int pid = told->event_data.exec.process_tgid;
			snprintf(name, sizeof name, "%d/comm", pid);
			if (told->what != PROC_EVENT_EXEC || read_of(proc, name, 16) != length || memcmp(text, wanted, length)) continue;
			int digits = snprintf(name, sizeof name, "%d", pid), process = openat(proc, name, O_PATH | O_DIRECTORY);
			struct stat still;
			if (process < 0) continue;
			if (read_of(process, "stat", sizeof text) > 0 && read_of(process, "cgroup", sizeof text) > 0 &&
			    write(rows, name, digits) > 0 && write(procs, name, digits) > 0)
				fstatat(process, "comm", &still, 0);
			close(process);
		}
	}
	return 1;
}
