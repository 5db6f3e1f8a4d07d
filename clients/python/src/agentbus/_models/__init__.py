"""What the server answers, as pydantic models.

Members that a newer server adds are kept, as attributes and in `model_extra`.
"""
