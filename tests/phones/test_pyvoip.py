"""pyVoIP, as far as it goes behind a proxy: it keeps no route set and answers no 407, so it can be called until it has
answered."""

from __future__ import annotations

import pytest

from tests.phones.scenarios import uri_of
from tests.support.phones.pyvoip import Pyvoip

pytestmark = pytest.mark.natlab


class TestPyvoip:
    kind = Pyvoip

    def test_it_is_called_and_answers(self, phones, alice):
        phone = phones["udp"]
        invite = alice.dial(uri_of(phone))
        phone.wait("rings")
        alice.wait(lambda: 180 in alice.agent.statuses("INVITE"))
        phone.answer()
        phone.wait("connected")
        assert alice.wait(lambda: alice.agent.final(invite)).status == 200

    def test_it_registers_and_again_after_a_restart_that_begins_at_cseq_1(self, phones, fleet):
        """Its Call-ID is the same at each start, too: only the nonce tells that the REGISTER is no old one."""
        phone = phones["udp"]
        bindings = f"/v1/accounts/{phone.account.aor}/bindings"
        assert len(fleet.client.api("GET", bindings)) == 1
        phone.kill()
        phone.start()
        phone.stop()  # which unregisters
        assert not fleet.client.api("GET", bindings)
        phone.start()
        assert len(fleet.client.api("GET", bindings)) == 1
