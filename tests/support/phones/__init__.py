"""Real phones as tests drive them: Linphone, Twinkle, pjsua2 and pyVoIP, each a program of its own, without sound."""
