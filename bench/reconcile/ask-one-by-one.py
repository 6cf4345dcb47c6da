"""The same questions by proxmoxer, one by one, as a script of an operator asks them. Prints its seconds for each round."""

import json
import sys
import time
import warnings

from proxmoxer import ProxmoxAPI

warnings.filterwarnings("ignore")
host, port, token, node, rounds, vmids = json.loads(sys.stdin.read())
name, secret = token.split("=", 1)
user, token_name = name.split("!", 1)
api = ProxmoxAPI(host, port=port, user=user, token_name=token_name, token_value=secret, verify_ssl=False, timeout=60)
seconds = []
for _ in range(rounds):
    began = time.monotonic()
    api.nodes(node).lxc.get()
    api.nodes(node).qemu.get()
    for vmid in vmids:
        api.nodes(node).lxc(vmid).pending.get()
    seconds.append(time.monotonic() - began)
print(json.dumps(seconds))
