"""Whether the model hub can be reached."""

ANSWER_WITHIN = 5.0  # seconds


def hub_answers() -> bool:
    """Whether the hub, or the mirror that HF_ENDPOINT names, answers within five seconds."""
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=ANSWER_WITHIN)
    except Exception:  # as many types as there are ways to have no network
        return False
    return True
