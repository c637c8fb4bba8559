#!/usr/bin/env python3
"""A steady load of questions by UDP, each judged on its own.

    load.py NAME ADDRESS... -- COMMAND...

asks every address for NAME while COMMAND runs, prints what came of it, and exits with 1 if a question had no reply within
five seconds. Whether the reply is an answer is not asked: `life` does that.
"""

import select
import socket
import struct
import subprocess
import sys
import threading
import time

# Of each target.
PER_SECOND = 15
# What dig waits; a question is asked once.
PATIENCE = 5.0


def query(number, name, recurse):
    labels = b"".join(bytes([len(label)]) + label for label in name.encode().split(b"."))
    return struct.pack("!6H", number, 0x100 if recurse else 0, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


class Load(threading.Thread):
    """Asks every target in turn, a fresh name each time so that no cache answers, and judges the replies."""

    def __init__(self, name, resolvers=(), judge=None):
        super().__init__(daemon=True)
        self.name, self.resolvers, self.judge = name, resolvers, judge or good
        self.targets, self.lock, self.running = [], threading.Lock(), True
        self.count, self.asked, self.failed, self.slowest = 0, {}, {}, {}

    def aim(self, targets):
        self.targets = list(targets)

    def read(self):
        """What came of the questions since the last call; those on their way count next time."""
        with self.lock:
            found = self.asked, self.failed, self.slowest
            self.asked, self.failed, self.slowest = {}, {}, {}
        return found

    def settle(self, target, took, problem):
        with self.lock:
            self.asked[target] = self.asked.get(target, 0) + 1
            self.slowest[target] = max(self.slowest.get(target, 0), took)
            if problem:
                self.failed.setdefault(target, []).append(f"{time.strftime('%X')} {problem}")

    def run(self):
        open_questions, following = {}, time.monotonic()
        poll = select.epoll()
        while self.running:
            now = time.monotonic()
            if now >= following and self.targets:
                following = max(following, now - 1) + 1 / (PER_SECOND * len(self.targets))
                self.count += 1
                target = self.targets[self.count % len(self.targets)]
                asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                number = self.count & 0xFFFF
                asker.connect((target, 53))
                try:
                    asker.send(query(number, self.name.format(self.count), target in self.resolvers))
                except OSError as error:
                    self.settle(target, 0, f"cannot ask: {error}")
                    asker.close()
                    continue
                poll.register(asker, select.EPOLLIN)
                open_questions[asker.fileno()] = (asker, target, now, number)
            for descriptor, _ in poll.poll(max(0.0, min(following - time.monotonic(), 0.1)) if self.targets else 0.1):
                asker, target, began, number = open_questions.pop(descriptor)
                took = time.monotonic() - began
                try:
                    reply = asker.recv(4096)
                    problem = None if self.judge(reply, number) else f"response code {reply[3] & 15}, {reply[7]} records"
                except OSError as error:
                    problem = str(error)
                self.settle(target, took, problem)
                poll.unregister(asker)
                asker.close()
            for descriptor in [d for d, (_, _, began, _) in open_questions.items() if now - began > PATIENCE]:
                asker, target, *_ = open_questions.pop(descriptor)
                self.settle(target, PATIENCE, "no answer")
                poll.unregister(asker)
                asker.close()


def good(reply, number):
    return len(reply) > 12 and reply[:2] == struct.pack("!H", number) and reply[3] & 15 == 0 and reply[7] > 0


def any_reply(reply, number):
    return len(reply) >= 12 and reply[:2] == struct.pack("!H", number)


def main():
    words = sys.argv[1:]
    cut = words.index("--")
    load = Load(words[0], judge=any_reply)
    load.aim(words[1:cut])
    load.start()
    time.sleep(0.5)
    code = subprocess.run(words[cut + 1 :]).returncode
    time.sleep(PATIENCE + 0.2)
    asked, failed, slowest = load.read()
    lost = sum(len(problems) for problems in failed.values())
    print(f"{sum(asked.values())} questions, {lost} failed, slowest {max(slowest.values(), default=0) * 1000:.0f} ms")
    for target, problems in failed.items():
        print(f"{target}: {len(problems)} failed, from {problems[0]} to {problems[-1]}")
    sys.exit(code or (1 if lost else 0))


if __name__ == "__main__":
    main()
