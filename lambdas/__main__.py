"""``python -m lambdas``: the control plane without AWS's Lambda, for development and for a machine of one's own.

``python -m lambdas --host H --port P --endpoint URL`` serves it; ``python -m lambdas make-key`` makes the first
administration key, with the operator's own AWS credentials; ``python -m lambdas renew`` gets and renews certificates as
far as they are due, and ends: to be run every five minutes.
"""

from __future__ import annotations

import argparse
import logging
import os
import threading


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lambdas", description=__doc__)
    parser.add_argument("command", nargs="?", choices=["serve", "make-key", "renew"], default="serve")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--endpoint", help="a DynamoDB-compatible endpoint; AWS's own if left out")
    options = parser.parse_args()
    if options.endpoint:
        os.environ["AWS_ENDPOINT_URL"] = options.endpoint
    if os.environ.get("MAIL_FROM") and not os.environ.get("PUBLIC_URL"):
        parser.error("MAIL_FROM needs PUBLIC_URL, the URL that mails name: anybody can choose a request's Host")
    from lambdas.aws_access import NoRegion, in_words, take_region

    try:
        take_region("us-east-1" if os.environ.get("AWS_ENDPOINT_URL") else "")
    except NoRegion as error:
        parser.error(str(error))
    # Imported late: PynamoDB and botocore read the environment when they are.
    if options.command == "renew":
        from lambdas.certificates.renewing import Renewing
        from lambdas.certificates.settings import NoAuthority

        try:
            renewing = Renewing.make()
        except NoAuthority as error:
            parser.error(str(error))
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        renewing.run()
        return
    from lambdas.api.security import new_key
    from lambdas.services.services import Services

    services = Services.make()
    if options.command == "make-key":
        try:
            _, text = new_key(services, "", "made on the command line")
        except Exception as error:
            if words := in_words(error):
                parser.exit(1, f"make-key: {words}\n")
            raise
        print(text)
        return
    from lambdas.api.combined import combined_app
    from lambdas.hooks.delivering import work

    if services.tables.hooks.available:
        threading.Thread(target=work, args=(services.tables, services.lookups), daemon=True).start()
    if services.tables.pushes.available:
        from lambdas.push.sending import work as wake

        threading.Thread(target=wake, args=(services.tables,), daemon=True, name="push").start()
    import uvicorn

    app = combined_app(services)
    # By h11, which ends connections with endless header fields; httptools, which reads faster, keeps them all.
    uvicorn.run(app, host=options.host, port=options.port, http="h11", log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
