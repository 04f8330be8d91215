"""A FastAPI service; run it: cd examples; API_URL=https://api.example uvicorn fastapi_app:app"""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI, HTTPException, Request

from enkash_auth import EnkashAuth, TokenProvider, errors

API_URL = os.environ["API_URL"]
logging.basicConfig()  # else nothing shows why there is no token: uvicorn sets up its own loggers only


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    with TokenProvider.from_env() as provider:
        auth = EnkashAuth(provider, origins=[API_URL])
        async with httpx.AsyncClient(base_url=API_URL, auth=auth) as app.state.api:
            yield


app = FastAPI(lifespan=lifespan)


@app.get("/orders")
async def orders(request: Request) -> Any:
    try:
        answer = await request.app.state.api.get("/api/echo")
    except errors.UnavailableError as error:  # no token now: the caller can retry
        raise HTTPException(503, headers={"Retry-After": f"{max(1, round(error.retry_after or 10))}"}) from error
    return answer.raise_for_status().json()
