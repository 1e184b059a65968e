"""A phone of pjsua2's making without a sound card: a command a line on standard input, an event a line on standard output."""

from __future__ import annotations

import json
import queue
import sys
import threading

import pjsua2

KINDS = {
    "udp": pjsua2.PJSIP_TRANSPORT_UDP,
    "tcp": pjsua2.PJSIP_TRANSPORT_TCP,
    "tls": pjsua2.PJSIP_TRANSPORT_TLS,
}


class PhoneCall(pjsua2.Call):
    """``calls`` are those under way. ``tone`` is what they all hear, if anything."""

    calls: list[PhoneCall] = []
    tone: pjsua2.AudioMediaPlayer | None = None

    def onCallState(self, prm):
        info = self.getInfo()
        print("call", info.stateText, info.lastStatusCode, info.lastReason)
        if info.state == pjsua2.PJSIP_INV_STATE_DISCONNECTED and self in self.calls:
            self.calls.remove(self)

    def onCallMediaState(self, prm):
        info = self.getInfo()  # which its media are part of
        if any(media.status == pjsua2.PJSUA_CALL_MEDIA_LOCAL_HOLD for media in info.media):
            print("held")
        for number, media in enumerate(info.media):
            if self.tone is not None and media.status == pjsua2.PJSUA_CALL_MEDIA_ACTIVE:
                self.tone.startTransmit(self.getAudioMedia(number))

    def onCallTransferRequest(self, prm):
        prm.newCall = self.of_its_account()

    def onCallReplaced(self, prm):
        self.of_its_account(prm.newCallId)

    def of_its_account(self, number=pjsua2.PJSUA_INVALID_ID):
        """Another call, that it doesn't have to end for."""
        call = PhoneCall(PhoneAccount.only, number)
        self.calls.append(call)
        return call

    def onCallTransferStatus(self, prm):
        print("transfer", prm.statusCode, prm.reason)
        if prm.statusCode == 200:
            hang_up(self)


class PhoneEndpoint(pjsua2.Endpoint):
    def onTransportState(self, prm):
        for reason in prm.tlsInfo.verifyMsgs:
            print("refused", reason)


class PhoneAccount(pjsua2.Account):
    """``only``: there is one."""

    only: PhoneAccount

    def onRegState(self, prm):
        print("registered", prm.code, prm.reason, prm.expiration)

    def onIncomingCall(self, prm):
        call = PhoneCall(self, prm.callId)
        PhoneCall.calls.append(call)
        answer = pjsua2.CallOpParam()
        answer.statusCode = 180
        call.answer(answer)
        print("call INCOMING", call.getInfo().remoteUri)


def hang_up(call):
    try:
        call.hangup(pjsua2.CallOpParam())
    except pjsua2.Error as error:  # it has just ended by itself
        print("not hung up:", error.reason)


def settings_of(wanted):
    settings = pjsua2.AccountConfig()
    settings.idUri = f"sip:{wanted['user']}@{wanted['domain']}"
    settings.regConfig.registrarUri = f"sip:{wanted['domain']}"
    settings.regConfig.timeoutSec = wanted["expires"]
    settings.regConfig.retryIntervalSec = 2  # 300 by itself: who misses once is away for so long
    settings.regConfig.randomRetryIntervalSec = 1
    settings.sipConfig.proxies.append(wanted["proxy"])
    settings.sipConfig.authCreds.append(pjsua2.AuthCredInfo("digest", "*", wanted["user"], 0, wanted["password"]))
    settings.mediaConfig.transportConfig.port = 4000
    return settings


def transport_of(wanted):
    settings = pjsua2.TransportConfig()
    settings.port = wanted["port"]
    if wanted["transport"] == "tls":
        settings.tlsConfig.CaListFile = wanted["authority"]
        settings.tlsConfig.verifyServer = True
    return settings


def obey(account, order):
    name, _, uri = order.partition(" ")
    calls = PhoneCall.calls
    options = pjsua2.CallOpParam(True)
    if name == "call":
        call = PhoneCall(account)
        calls.append(call)
        call.makeCall(uri, options)
    elif name == "answer":
        options.statusCode = 200
        calls[-1].answer(options)
    elif name == "hang_up":
        hang_up(calls[-1])
    elif name == "hold":
        calls[-1].setHold(options)
    elif name == "resume":
        options.opt.flag |= pjsua2.PJSUA_CALL_UNHOLD
        calls[-1].reinvite(options)
    elif name == "transfer":
        calls[-1].xfer(uri, options)
    elif name == "join":
        calls[-2].xferReplaces(calls[-1], options)


def main():
    wanted = json.loads(sys.argv[1])
    orders: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=lambda: [orders.put(line.strip()) for line in sys.stdin], daemon=True).start()
    endpoint = PhoneEndpoint()
    endpoint.libCreate()
    settings = pjsua2.EpConfig()
    settings.uaConfig.threadCnt = 0  # all of it happens in this thread
    settings.uaConfig.mainThreadOnly = True
    settings.logConfig.level = wanted.get("log", 0)
    settings.logConfig.consoleLevel = wanted.get("log", 0)
    endpoint.libInit(settings)
    endpoint.transportCreate(KINDS[wanted["transport"]], transport_of(wanted))
    endpoint.libStart()
    endpoint.audDevManager().setNullDev()
    endpoint.codecSetPriority("PCMA", 255)
    if wanted["tone"]:
        PhoneCall.tone = pjsua2.AudioMediaPlayer()
        PhoneCall.tone.createPlayer(wanted["tone"])
    account = PhoneAccount.only = PhoneAccount()
    account.create(settings_of(wanted))
    order = ""
    while order != "quit":
        endpoint.libHandleEvents(20)
        order = "" if orders.empty() else orders.get()
        if order:
            obey(account, order)
    endpoint.hangupAllCalls()
    PhoneCall.tone = None
    if account.getInfo().regIsActive:
        account.setRegistration(False)
    for _ in range(25):
        endpoint.libHandleEvents(20)
    account.shutdown()
    endpoint.libDestroy()


if __name__ == "__main__":
    main()
